"""The one entry to images and masks: whatever a user names becomes a `Volume`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mitosam.errors import InputError, InputNotFoundError
from mitosam.io import hdf5, mrc, raster, tiff
from mitosam.io.folder import open_folder
from mitosam.io.ome_zarr_metadata import NODE_FILES, is_zarr
from mitosam.io.ome_zarr_reader import open_ome_zarr
from mitosam.io.place import Place, Url, place_of
from mitosam.io.volume import Volume
from mitosam.io.zarr_folder import RemoteFolder

PACKED = (".gz", ".bz2", ".xz", ".zip", ".tar", ".7z", ".zst")


def open_volume(place: Place | str) -> Volume:
    """A TIFF, HDF5 or MRC stack, an OME-Zarr, a PNG or JPEG, or a folder of sections, read lazily.

    A text may be a URL that fsspec knows, as `https://...` or `s3://...`. A dataset in an HDF5 file
    is named behind a colon, as `file.h5:/volumes/raw`.

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
    from mitosam.io.remote import open_remote_file, remote_at

    file, dataset = hdf5.split_dataset(url.text)
    suffix = Url(file).suffix.lower()
    if suffix in hdf5.SUFFIXES:
        return hdf5.open_hdf5(open_remote_file(remote_at(Url(file))), dataset)
    if suffix in mrc.SUFFIXES:
        return mrc.open_mrc(open_remote_file(remote_at(url)))
    if suffix in tiff.SUFFIXES:
        return tiff.open_tiff(open_remote_file(remote_at(url)))
    if suffix in raster.SUFFIXES:
        raise InputError(f"{url} is a single image, which is read from this machine; download it")
    folder = RemoteFolder(remote_at(url))
    if not is_zarr(folder):
        raise InputNotFoundError(
            f"{url} does not exist, or is no zarr: it lacks all of {', '.join(NODE_FILES)}"
        )
    return open_ome_zarr(folder)


def _open_path(path: Path) -> Volume:
    if hdf5.names_dataset(path):
        file, dataset = hdf5.split_dataset(path.as_posix())
        return hdf5.open_hdf5(Path(file), dataset)
    if not path.exists():
        raise InputNotFoundError(f"{path} does not exist; check the spelling of the path")
    if path.is_dir():
        return _open_directory(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again from its source")
    suffix = path.suffix.lower()
    for suffixes, open_file in _KINDS:
        if suffix in suffixes:
            return open_file(path)
    if suffix in PACKED:
        raise InputError(
            f"{path} is packed and cannot be read in parts; unpack it first (as with gunzip)"
        )
    raise InputError(
        f"{path} is not an image by its name; give a TIFF stack (.tif, .tiff), an HDF5 (.h5) or "
        "MRC file (.mrc), a .png or .jpg, an OME-Zarr, or a folder of sections"
    )


_KINDS: tuple[tuple[tuple[str, ...], Callable[[Path], Volume]], ...] = (
    (tiff.SUFFIXES, tiff.open_tiff),
    (raster.SUFFIXES, raster.open_raster),
    (hdf5.SUFFIXES, hdf5.open_hdf5),
    (mrc.SUFFIXES, mrc.open_mrc),
)


def _open_directory(folder: Path) -> Volume:
    if is_zarr(folder):
        return open_ome_zarr(folder)
    if folder.suffix.lower() == ".zarr":
        raise InputError(
            f"{folder} lacks all of {', '.join(NODE_FILES)}; copy it again from its source"
        )
    return open_folder(folder)
