"""The one entry to images and masks: whatever a user names becomes a `Volume`."""

from __future__ import annotations

from pathlib import Path

from mitosam.errors import InputError, InputNotFoundError
from mitosam.io import raster, tiff
from mitosam.io.folder import open_folder
from mitosam.io.ome_zarr_metadata import NODE_FILES, is_zarr
from mitosam.io.ome_zarr_reader import open_ome_zarr
from mitosam.io.volume import Volume


def open_volume(path: Path) -> Volume:
    """A TIFF stack, an OME-Zarr, a PNG or JPEG, or a folder of such sections, read lazily.

    Raises
    ------
    InputNotFoundError
        There is nothing at `path`.
    InputError
        It is no image, is damaged, or has channels or timepoints.
    """
    if not path.exists():
        raise InputNotFoundError(f"{path} does not exist; check the spelling of the path")
    if path.is_dir():
        return _open_directory(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again from its source")
    suffix = path.suffix.lower()
    if suffix in tiff.SUFFIXES:
        return tiff.open_tiff(path)
    if suffix in raster.SUFFIXES:
        return raster.open_raster(path)
    raise InputError(
        f"{path} is not an image by its name; give a TIFF stack (.tif, .tiff), a .png or .jpg, "
        "an OME-Zarr, or a folder of sections"
    )


def _open_directory(folder: Path) -> Volume:
    if is_zarr(folder):
        return open_ome_zarr(folder)
    if folder.suffix.lower() == ".zarr":
        raise InputError(
            f"{folder} lacks all of {', '.join(NODE_FILES)}; copy it again from its source"
        )
    return open_folder(folder)
