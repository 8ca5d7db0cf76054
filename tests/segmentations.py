"""Whole segmentations of a small phantom, and what there is to compare of them."""

from __future__ import annotations

import re

import imageio.v3 as iio
import numpy as np

from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.io.open import open_volume
from mitosam.workflows.segment import segment
from tests.tiny_runs import VOXEL_SIZE_NM, contents, short_settings

SAME = re.compile(r"labels|probability|mitochondria|sections|previews")
FEW_POINTS = ("grid.points_per_side=2", "grid.pred_iou_thresh=0", "grid.stability_score_thresh=0")


def run(images, out, model, base_model, *, method="head", overrides=(), **more):
    return segment(
        images, out, model=model, method=method,
        settings=short_settings(base_model, *overrides), **more,
    )  # fmt: skip


def results(folder):
    """The volumes, tables and previews; report and facts tell the time."""
    found = {name: data for name, data in contents(folder).items() if SAME.match(name)}
    # A TIFF file has an identifier of its own.
    tiffs = {n: open_volume(folder / n).sha256() for n in found if n.endswith(".tif")}
    return found | tiffs


def whole(path):
    return np.stack(list(open_volume(path).sections()))


def as_folder(path, stack):
    path.mkdir()
    for z, section in enumerate(stack):
        iio.imwrite(path / f"section_{z:02d}.png", section)


def as_zarr(path, stack, voxel_size_nm=VOXEL_SIZE_NM):
    spec = VolumeSpec(
        shape_zyx=stack.shape, dtype=stack.dtype, kind="image", voxel_size_nm=voxel_size_nm
    )
    write_ome_zarr(path, stack, spec)
