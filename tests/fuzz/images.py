"""Honest images and label volumes of each container, and reading them as the product does."""

from __future__ import annotations

from pathlib import Path

import h5py
import imageio.v3 as iio
import mrcfile
import numpy as np
import tifffile
import zarr

from mitosam.data.masks import survey_masks
from mitosam.geometry import Box
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.io.open import open_volume
from mitosam.io.volume import Volume

SHAPE = (3, 40, 48)
WHOLE_BYTES = 64 * 2**20
"""Sections up to this are read whole; larger ones by boxes, where the format can."""
WHOLE_CHUNKS = 500
MASK_VOXELS = 2**24


def volume() -> np.ndarray:
    """Grey values with structure, so that compressors have something to do."""
    z, y, x = np.indices(SHAPE)
    noise = np.random.default_rng(0).integers(0, 40, SHAPE)
    return ((x * 3 + y * 2 + z * 11) % 200 + noise).astype(np.uint8)


def labels() -> np.ndarray:
    found = np.zeros(SHAPE, np.uint16)
    found[:, 5:15, 5:20], found[1:, 22:35, 25:40] = 3, 7
    return found


def read(path: Path) -> None:
    """The first and the last section, and a box."""
    opened = open_volume(path)
    _, height, width = opened.shape_zyx
    _, rows, columns = opened.chunk_zyx or opened.shape_zyx
    is_whole = height * width * opened.dtype.itemsize <= WHOLE_BYTES
    is_whole = is_whole and (height // rows + 1) * (width // columns + 1) <= WHOLE_CHUNKS
    if opened.read_box is None or is_whole:
        for z in (0, len(opened) - 1):
            opened.section(z)
    stop = tuple(min(length, side) for length, side in zip(opened.shape_zyx, SHAPE, strict=True))
    opened.box(Box((0, 0, 0), stop))


def read_masks(path: Path) -> None:
    """The survey that precedes all use of masks, and the ids of a section."""
    opened: Volume = open_volume(path)
    depth, height, width = opened.shape_zyx
    chunks = np.prod(
        [
            n // c + 1
            for n, c in zip(opened.shape_zyx, opened.chunk_zyx or opened.shape_zyx, strict=True)
        ]
    )
    if depth * height * width > MASK_VOXELS or chunks > WHOLE_CHUNKS:
        opened.box(Box((0, 0, 0), (1, 1, 1)))
        return
    survey_masks(opened, empty_ok=True).to_labels(opened.section(0))


def _tiff(folder: Path, array: np.ndarray, **how: object) -> Path:
    tifffile.imwrite(folder / "a.tif", array, photometric="minisblack", **how)
    return folder / "a.tif"


def plain_tiff(folder: Path) -> Path:
    return _tiff(folder, volume(), resolution=(2e6, 2e6), resolutionunit="CENTIMETER")


def deflate_tiff(folder: Path) -> Path:
    return _tiff(folder, volume(), compression="deflate", predictor=True, rowsperstrip=16)


def tiled_tiff(folder: Path) -> Path:
    return _tiff(folder, volume().astype(np.uint16), compression="lzw", tile=(16, 16))


def big_tiff(folder: Path) -> Path:
    return _tiff(folder, volume().astype(np.float32), compression="zstd", bigtiff=True)


def imagej_tiff(folder: Path) -> Path:
    how = {"spacing": 0.05, "unit": "um", "axes": "ZYX"}
    return _tiff(folder, volume(), imagej=True, resolution=(100, 100), metadata=how)


def ome_tiff(folder: Path) -> Path:
    how = {"axes": "ZYX", "PhysicalSizeX": 0.01, "PhysicalSizeY": 0.01, "PhysicalSizeZ": 0.03}
    return _tiff(folder, volume(), ome=True, metadata=how)


def label_tiff(folder: Path) -> Path:
    return _tiff(folder, labels(), compression="zlib")


def png(folder: Path) -> Path:
    iio.imwrite(folder / "a.png", volume()[0].astype(np.uint16) * 200)
    return folder / "a.png"


def colour_png(folder: Path) -> Path:
    iio.imwrite(folder / "a.png", volume().transpose(1, 2, 0))
    return folder / "a.png"


def jpeg(folder: Path) -> Path:
    iio.imwrite(folder / "a.jpg", volume()[0], quality=90)
    return folder / "a.jpg"


def folder(folder: Path) -> Path:
    (folder / "sections").mkdir()
    for z, section in enumerate(volume()[:2]):
        iio.imwrite(folder / "sections" / f"s{z}.png", section)
    tifffile.imwrite(folder / "sections" / "s2.tif", volume()[2])
    return folder / "sections"


def _ome_zarr(folder: Path, version: str, kind: str, array: np.ndarray) -> Path:
    path = folder / "a.ome.zarr"
    spec = VolumeSpec(
        shape_zyx=SHAPE,
        dtype=array.dtype,
        kind=kind,
        voxel_size_nm=(30.0, 8.0, 8.0),
        ngff_version=version,
    )
    write_ome_zarr(path, array, spec)
    return path


def ome_zarr_04(folder: Path) -> Path:
    return _ome_zarr(folder, "0.4", "image", volume())


def ome_zarr_05(folder: Path) -> Path:
    return _ome_zarr(folder, "0.5", "image", volume())


def zarr_labels(folder: Path) -> Path:
    return _ome_zarr(folder, "0.5", "labels", labels().astype(np.uint32))


def _zarr(folder: Path, **how: object) -> Path:
    array = zarr.create_array(folder / "a.zarr", shape=SHAPE, chunks=(2, 16, 16), dtype="u1", **how)
    array[:] = volume()
    return folder / "a.zarr"


def hdf5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["raw"] = volume()
    return folder / "a.h5"


def hdf5_chunked(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        how = {"chunks": (2, 16, 16), "compression": "gzip", "shuffle": True}
        raw = file.create_dataset("volumes/raw", data=volume(), **how)
        raw.attrs["resolution"] = (30.0, 8.0, 8.0)
    return folder / "a.h5"


def mrc(folder: Path) -> Path:
    with mrcfile.new(folder / "a.mrc", volume().astype(np.int16)) as file:
        file.voxel_size = 80.0
    return folder / "a.mrc"


def zarr_gzip(folder: Path) -> Path:
    return _zarr(folder, compressors=zarr.codecs.GzipCodec(level=3))


def zarr_blosc(folder: Path) -> Path:
    return _zarr(folder, compressors=zarr.codecs.BloscCodec(cname="lz4"))


def zarr_zlib(folder: Path) -> Path:
    from numcodecs import Zlib

    return _zarr(folder, compressors=Zlib(), zarr_format=2)


def zarr_sharded(folder: Path) -> Path:
    return _zarr(folder, shards=(2, 32, 48), compressors=zarr.codecs.ZstdCodec(checksum=True))
