"""The one entry to images and masks: whatever a user names becomes a `Volume`."""

from __future__ import annotations

from pathlib import Path

from mitosam.errors import InputError, InputNotFoundError
from mitosam.io import raster, tiff
from mitosam.io.folder import open_folder
from mitosam.io.ome_zarr_metadata import NODE_FILES, is_zarr
from mitosam.io.ome_zarr_reader import open_ome_zarr
from mitosam.io.place import Place, Url, place_of
from mitosam.io.volume import Volume
from mitosam.io.zarr_folder import RemoteFolder


def open_volume(place: Place | str) -> Volume:
    """A TIFF stack, an OME-Zarr, a PNG or JPEG, or a folder of such sections, read lazily.

    A text may be a URL that fsspec knows, as `https://...` or `s3://...`, of an OME-Zarr.

    Raises
    ------
    InputNotFoundError
        There is nothing at `place`.
    InputError
        It is no image, is damaged, or has channels or timepoints.
    RemoteError
        Its store cannot be reached, refuses, or was lost on the way.
    SettingsError
        The package that speaks the URL's protocol is not installed.
    """
    place = place_of(place)
    return _open_url(place) if isinstance(place, Url) else _open_path(place)


def _open_url(url: Url) -> Volume:
    from mitosam.io.remote import remote_at

    folder = RemoteFolder(remote_at(url))
    if not is_zarr(folder):
        raise InputNotFoundError(
            f"{url} does not exist, or is no zarr: it lacks all of {', '.join(NODE_FILES)}"
        )
    return open_ome_zarr(folder)


def _open_path(path: Path) -> Volume:
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
