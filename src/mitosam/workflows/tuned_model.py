"""A model by the name a user gives it: a base model, a run, or a tuned model's file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from mitosam.config import RunSettings, resolve_settings, validate_settings
from mitosam.data.intensity import Normalisation
from mitosam.data.resampling import images_at_pixel
from mitosam.data.settings import DataSettings
from mitosam.errors import InputNotFoundError, ModelError, SettingsError
from mitosam.inference.predictor import Predictor
from mitosam.io.volume import Volume
from mitosam.models.input_size import resize_input
from mitosam.models.load import EMBEDDED, load_model
from mitosam.models.promptable import Promptable
from mitosam.models.settings import ModelSettings
from mitosam.models.tuned import TUNED_KEY, TunedInfo, load_tuned, read_tuned_info
from mitosam.models.weight_files import read_metadata
from mitosam.workflows.models import encode_cached, keep_freed_memory, open_cache, place
from mitosam.workflows.runs import SETTINGS, Run

PIXEL_TOLERANCE = 0.1
"""How far pixels may be from those a model was trained on before it is told; the head's training
zooms by more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableModel:
    """A model with what it needs to be used on new images as it was trained."""

    sam: Promptable
    tile_px: int
    normalisation: Normalisation | None
    info: TunedInfo | None


def load_tuned_model(model: Path | str, settings: ModelSettings | None = None) -> UsableModel:
    """A model by name: "vit_t", any checkpoint, a run's folder, or a `model.safetensors` of one.

    Raises
    ------
    InputNotFoundError
        The run is not trained yet.
    """
    keep_freed_memory()
    settings = settings or ModelSettings()
    weights = tuned_weights(Path(model))
    if weights is None:
        sam = place(resize_input(load_model(str(model)), settings.input_px), settings)
        return UsableModel(
            sam=sam, tile_px=DataSettings().tile_side_px, normalisation=None, info=None
        )
    info = read_tuned_info(weights)
    input_px = settings.input_px or info.input_px
    sam = place(resize_input(load_model(info.base_name), input_px), settings)
    load_tuned(weights, sam)
    return UsableModel(
        sam=sam,
        tile_px=info.tile_px,
        normalisation=Normalisation.from_dict(info.normalisation),
        info=info,
    )


def settings_of(info: TunedInfo) -> RunSettings:
    """The settings that a tuned model was trained with, as its file holds them.

    Raises
    ------
    SettingsError
        One of them is unknown or out of range.
    ModelError
        They are no settings at all.
    """
    try:
        return validate_settings(tomllib.loads(info.settings_toml))
    except SettingsError:
        raise
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"the model's file holds no settings of a training ({str(error)[:200]}); train again"
        ) from error


def trained_pixel_nm(usable: UsableModel) -> float | None:
    """The size of the pixels that a model was trained on, as far as its file says it."""
    if usable.info is None:
        return None
    return usable.info.pixel_nm or settings_of(usable.info).data.common_pixel_nm


def common_pixel_nm(voxel_sizes_nm: Iterable[tuple[float, ...] | None]) -> float | None:
    """The pixel size of volumes that are about of one; None if they differ or one is unknown.

    >>> common_pixel_nm([(30.0, 8.0, 8.0), (5.0, 8.2, 8.2)])
    8.1
    """
    sizes = list(voxel_sizes_nm)
    known = [size for size in sizes if size]
    if not known or len(known) < len(sizes):
        return None
    pixel_nm = float(f"{fmean(nm for size in known for nm in size[1:]):.6g}")
    return pixel_nm if all(is_pixel_of(size, pixel_nm) for size in known) else None


def is_pixel_of(voxel_size_nm: tuple[float, ...], pixel_nm: float) -> bool:
    """Whether pixels are about of that size."""
    return all(math.isclose(nm, pixel_nm, rel_tol=PIXEL_TOLERANCE) for nm in voxel_size_nm[1:])


def pixel_size_remark(usable: UsableModel, voxel_size_nm: tuple[float, ...] | None) -> str:
    """What to beware of where a model is given pixels of another size; "" where nothing is."""
    trained_nm = trained_pixel_nm(usable)
    if trained_nm is None:
        return ""
    if voxel_size_nm is None:
        return f"the model was trained on pixels of {trained_nm:g} nm; these are of unknown size"
    if is_pixel_of(voxel_size_nm, trained_nm):
        return ""
    return (
        f"the model was trained on pixels of {trained_nm:g} nm, and these are of "
        f"{described_pixel(voxel_size_nm)} nm; "
        "scale the images to that size for the results it was scored with"
    )


def in_trained_pixels(
    volume: Volume,
    usable: UsableModel,
    voxel_size_nm: tuple[float, float, float] | None,
    asked_nm: float | None = None,
) -> Volume:
    """The volume in pixels of `asked_nm`, or of the size the model was trained on if all is known.

    Raises
    ------
    InputError
        They are asked for and the voxel size is unknown, or it makes no sense with them.
    """
    pixel_nm = asked_nm or trained_pixel_nm(usable)
    if pixel_nm is None or (voxel_size_nm and is_pixel_of(voxel_size_nm, pixel_nm)):
        return volume
    if voxel_size_nm is None and asked_nm is None:
        return volume
    return images_at_pixel(volume, pixel_nm, voxel_size_nm)


def described_pixel(voxel_size_nm: tuple[float, ...]) -> str:
    """A pixel's sides, without their unit."""
    return " x ".join(f"{size:g}" for size in voxel_size_nm[1:])


def load_predictor(model: Path | str = EMBEDDED, settings: RunSettings | None = None) -> Predictor:
    """A predictor of a model by name, which gives the masks that `mitosam predict` gives.

    Tiles' embeddings come from and go to the cache. Images of 8 bits are taken as they are, others
    are normalised as the model's training images were.

    Raises
    ------
    InputNotFoundError
        The run is not trained yet.
    """
    settings = settings or resolve_settings()
    usable = load_tuned_model(model, settings.model)
    return Predictor(
        usable.sam,
        tile_px=usable.tile_px,
        encode=encode_cached(open_cache(usable.sam, settings.cache)),
        normalisation=usable.normalisation,
    )


def tuned_weights(path: Path) -> Path | None:
    """The tuned model's file that a path stands for, or None if it stands for a base model."""
    if path.is_dir() and (path / SETTINGS).exists():
        weights = Run.open(path).tuned_weights
        if not weights.exists():
            raise InputNotFoundError(f"{path} is not trained yet; run `mitosam train {path}` first")
        return weights
    is_tuned = path.suffix == ".safetensors" and path.is_file() and TUNED_KEY in read_metadata(path)
    return path if is_tuned else None
