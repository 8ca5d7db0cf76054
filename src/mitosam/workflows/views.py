"""A picture of what training sees of a run's sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mitosam.config import RunSettings, changed_settings, override_settings
from mitosam.data.artefacts import KINDS, Artefacts, Kind
from mitosam.data.augmentation import AugmentationSettings
from mitosam.data.views import View
from mitosam.errors import InputError, OutputExistsError, SettingsError
from mitosam.progress import SILENT, Progress
from mitosam.reporting.view_sheet import ViewPanel, write_view_sheet
from mitosam.workflows.runs import Run
from mitosam.workflows.tiles import SectionTile, draw_views, tiles_of

NUM_COLUMNS = 6
# What is shown of an artefact that is off.
EXAMPLES: dict[Kind, float] = {
    "blur_px": 2.0,
    "noise": 15.0,
    "strips": 30.0,
    "fold": 0.8,
    "dropout": 0.3,
    "scratches": 3.0,
}


def views(
    run: Run, out: Path, *, overrides: Sequence[str] = (), progress: Progress = SILENT
) -> Path:
    """Write a PNG of a training tile as it is, views of the run's, and each artefact by itself.

    `overrides` may try other settings of [augmentation], as "augmentation.blur_px=2".

    Raises
    ------
    OutputExistsError
        `out` exists.
    SettingsError
        `out` is no .png, or more than the augmentation is overridden.
    """
    if out.suffix.lower() != ".png":
        raise SettingsError(f"{out} must end in .png")
    if out.exists():
        raise OutputExistsError(f"{out} exists already; remove it or choose another name")
    settings = override_settings(run.settings, overrides)
    for text in changed_settings(run.settings, settings):
        if not text.startswith("augmentation."):
            raise SettingsError(f"only settings of [augmentation] can be tried, got {text}")
    progress.say("drawing views")
    plain, drawn = _training_tiles(run, settings)
    rows = [
        [_panel("as it is", plain), *(_panel(_words(tile.view), tile) for tile in drawn)],
        [_alone(kind, plain, settings.augmentation) for kind in KINDS],
    ]
    title = f"{run.folder.name}: views of {settings.data.tile_side_px} px"
    write_view_sheet(out, title, rows)
    return out


def _training_tiles(run: Run, settings: RunSettings) -> tuple[SectionTile, list[SectionTile]]:
    """The training tile with the most objects, and views drawn as for training."""
    part = next((part for part in run.parts() if part.split.train), None)
    if part is None:
        raise InputError(f"{run.folder} trains on no section; give a run that does")
    sections = part.split.train
    middle = tiles_of(part.volume, [sections[len(sections) // 2]], settings.data)
    rng = np.random.default_rng([settings.seed, 2])
    drawn = draw_views(
        part.volume, sections, settings.data, NUM_COLUMNS - 1, rng, settings.augmentation
    )
    return max(middle, key=lambda tile: int(tile.labels(1).max())), drawn


def _alone(kind: Kind, plain: SectionTile, settings: AugmentationSettings) -> ViewPanel:
    """One artefact at its full strength; where it is off, at that of an example."""
    strength = float(getattr(settings, kind))
    shown = strength or EXAMPLES[kind]
    title = f"{kind} = {shown:g}" + ("" if strength else " (off)")
    view = View(artefacts=Artefacts(seed=1).with_strength(kind, shown))
    return _panel(title, replace(plain, view=view))


def _words(view: View) -> str:
    """What a view changes, shortly."""
    changes = [f"turn {view.symmetry}"] if view.symmetry else []
    if (view.gamma, view.gain) != (1.0, 1.0):
        changes.append(f"gamma {view.gamma:.2f}, gain {view.gain:.2f}")
    kinds = [kind.removesuffix("_px") for kind in KINDS if getattr(view.artefacts, kind)]
    return ", ".join([*changes, *kinds]) or "as it is"


def _panel(title: str, tile: SectionTile) -> ViewPanel:
    # As what was cut at the section's edge is filled up only where a view is turned.
    pixels = tile.view.of_pixels(np.asarray(tile.window.cut(tile.volume.images[tile.section])))
    return ViewPanel(title=title, pixels=pixels, labels=tile.labels(1))
