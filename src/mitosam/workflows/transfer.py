"""A tuned model on a volume that it was not trained on: a run that is scored and reported on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mitosam.config import RunSettings, override_settings
from mitosam.data.intensity import Normalisation, adopt_normalisation
from mitosam.data.prepared import prepare_volume
from mitosam.data.splits import Split, SplitSettings, parse_sections
from mitosam.errors import SettingsError
from mitosam.io.place import Place
from mitosam.models.tuned import TunedInfo, read_tuned_info
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_path
from mitosam.workflows.datasets import prepare_dataset
from mitosam.workflows.prepare import Sources, at_pixel_size, open_pair, record_parts
from mitosam.workflows.rival import copy_rival
from mitosam.workflows.runs import Run, new_run, require_same_training
from mitosam.workflows.tuned_model import (
    described_pixel,
    is_pixel_of,
    settings_of,
    tuned_weights,
)
from mitosam.workflows.voxel_sizes import VoxelSize, choose_voxel_size


def transfer(
    model: Path | str,
    images: Place,
    masks: Place,
    out: Path,
    *,
    sections: str | None = None,
    voxel_size_nm: VoxelSize | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Run:
    """A new run in `out` that holds a tuned model and another volume, ready for `evaluate`.

    The volume is scaled to the size of pixels that the model was trained on, where both are known.

    The U-Net that was trained beside the model comes with it, for `evaluate_automatic`.

    Its settings are those the model was trained with; `overrides` may change how it is scored.

    Parameters
    ----------
    model
        A trained run, or its `model.safetensors`.
    sections
        Sections to score, counted from 1, as "15-20"; all where they are not given.
    voxel_size_nm
        Size z, y, x where the files have none.

    Raises
    ------
    SettingsError
        `model` is no tuned model, more than the evaluation is overridden, or the voxel size
        contradicts the file's.
    """
    tuned = _read_tuned(model, overrides)
    opened = open_pair(images, masks)
    split = _only(sections, len(opened[0]))
    progress.say(opened[2].describe())
    size = choose_voxel_size(opened[0], voxel_size_nm) or opened[1].voxel_size_nm
    settings = _in_trained_pixels(tuned, size, progress)
    with new_run(out, settings) as run:
        scaled, size = at_pixel_size(opened, settings, size)
        volume = prepare_volume(
            scaled[0],
            scaled[1],
            run.prepared_folder / "volume",
            pairing=scaled[2],
            normalisation=adopt_normalisation(tuned.normalisation, scaled[0]),
            voxel_size_nm=size,
            progress=progress,
        )
        _bring_model(run, model, tuned)
        sources = Sources(images=images, masks=masks)
        record_parts(run, sources, {"volume": (volume, split)}, progress)
        return run


def transfer_dataset(
    model: Path | str,
    manifest: Path,
    out: Path,
    *,
    allow_outside: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Run:
    """The same on the test sections of a manifest's volumes.

    Raises
    ------
    InputError, InputNotFoundError
        The manifest or its volumes cannot be used.
    SettingsError
        As `transfer` says, or the manifest has no test sections.
    """
    tuned = _read_tuned(model, overrides)
    sources = Sources.of_manifest(manifest, allow_outside=allow_outside)
    assert sources.manifest is not None
    settings = tuned.settings
    # Sections that the training's own [split] named are none of these volumes.
    if settings.split.kind == "given":
        settings = settings.model_copy(update={"split": SplitSettings()})
    with new_run(out, settings) as run:
        parts = prepare_dataset(
            run,
            sources.manifest,
            trains=False,
            normalisation=tuned.normalisation,
            progress=progress,
        )
        _bring_model(run, model, tuned)
        record_parts(run, sources, parts, progress)
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tuned:
    weights: Path
    info: TunedInfo
    settings: RunSettings

    @property
    def normalisation(self) -> Normalisation:
        return Normalisation.from_dict(self.info.normalisation)


def _read_tuned(model: Path | str, overrides: Sequence[str]) -> _Tuned:
    weights = tuned_weights(Path(model))
    if weights is None:
        raise SettingsError(f"{model} is not a tuned model; give a run or its model.safetensors")
    info = read_tuned_info(weights)
    trained = settings_of(info)
    settings = override_settings(trained, overrides)
    require_same_training(trained, settings)
    return _Tuned(weights=weights, info=info, settings=settings)


def _in_trained_pixels(tuned: _Tuned, size: VoxelSize | None, progress: Progress) -> RunSettings:
    """The model's settings, and the size of its pixels where the volume has others."""
    data, trained_nm = tuned.settings.data, tuned.info.pixel_nm
    if data.common_pixel_nm or not trained_nm or not size or is_pixel_of(size, trained_nm):
        return tuned.settings
    progress.say(
        f"scored on pixels of {trained_nm:g} nm, which the model was trained on; "
        f"the volume's are of {described_pixel(size)} nm"
    )
    scaled = data.model_copy(update={"common_pixel_nm": trained_nm})
    return tuned.settings.model_copy(update={"data": scaled})


def _bring_model(run: Run, model: Path | str, tuned: _Tuned) -> None:
    with atomic_path(run.tuned_weights) as temporary:
        shutil.copyfile(tuned.weights, temporary)
    copy_rival(tuned.weights, run)
    run.record(_origin(model, tuned.info))


def _only(sections: str | None, num_sections: int) -> Split:
    everything = tuple(range(num_sections))
    chosen = parse_sections(sections, num_sections) if sections else everything
    unused = tuple(z for z in everything if z not in chosen)
    return Split(train=(), validation=(), test=chosen, unused=unused, leaky=False)


def _origin(model: Path | str, info: TunedInfo) -> dict[str, str]:
    return {
        "tuned_model": str(model),
        "trained": info.created,
        "base_model": info.base_name,
        "base_model_hash": info.base_hash,
    }
