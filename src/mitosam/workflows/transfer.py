"""A tuned model on a volume that it was not trained on: a run that is scored and reported on."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

from mitosam.config import override_settings, validate_settings
from mitosam.data.intensity import Normalisation, adopt_normalisation
from mitosam.data.prepared import prepare_volume
from mitosam.data.splits import Split, parse_sections
from mitosam.errors import SettingsError
from mitosam.io.place import Place
from mitosam.models.tuned import TunedInfo, read_tuned_info
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_path
from mitosam.workflows.prepare import Sources, open_pair, record_parts
from mitosam.workflows.rival import copy_rival
from mitosam.workflows.runs import Run, new_run, require_same_training
from mitosam.workflows.tuned_model import tuned_weights


def transfer(
    model: Path | str,
    images: Place,
    masks: Place,
    out: Path,
    *,
    sections: str | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Run:
    """A new run in `out` that holds a tuned model and another volume, ready for `evaluate`.

    The U-Net that was trained beside the model comes with it, for `evaluate_automatic`.

    Its settings are those the model was trained with; `overrides` may change how it is scored.

    Parameters
    ----------
    model
        A trained run, or its `model.safetensors`.
    sections
        Sections to score, counted from 1, as "15-20"; all where they are not given.

    Raises
    ------
    SettingsError
        `model` is no tuned model, or more than the evaluation is overridden.
    """
    weights = tuned_weights(Path(model))
    if weights is None:
        raise SettingsError(f"{model} is not a tuned model; give a run or its model.safetensors")
    info = read_tuned_info(weights)
    trained = validate_settings(tomllib.loads(info.settings_toml))
    settings = override_settings(trained, overrides)
    require_same_training(trained, settings)
    opened = open_pair(images, masks)
    split = _only(sections, len(opened[0]))
    progress.say(opened[2].describe())
    normalisation = adopt_normalisation(Normalisation.from_dict(info.normalisation), opened[0])
    with new_run(out, settings) as run:
        volume = prepare_volume(
            opened[0],
            opened[1],
            run.prepared_folder / "volume",
            pairing=opened[2],
            normalisation=normalisation,
            progress=progress,
        )
        with atomic_path(run.tuned_weights) as temporary:
            shutil.copyfile(weights, temporary)
        copy_rival(weights, run)
        run.record(_origin(model, info))
        sources = Sources(images=images, masks=masks)
        record_parts(run, sources, {"volume": (volume, split)}, progress)
        return run


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
