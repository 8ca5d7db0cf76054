from __future__ import annotations

import logging

import numpy as np
import pytest
import tifffile

from mitosam.io.open import open_volume

STACK = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def voxel_size(path, data=STACK, **options: object):
    tifffile.imwrite(path, data, **options)
    return open_volume(path).voxel_size_nm


def ome(unit, z=0.05, y=0.01, x=0.02):
    sizes = {"PhysicalSizeZ": z, "PhysicalSizeY": y, "PhysicalSizeX": x}
    return {"axes": "ZYX", **sizes, **{f"PhysicalSize{a}Unit": unit for a in "ZYX"}}


def test_ome_sizes_are_read_in_their_unit(tmp_path):
    path = tmp_path / "a.ome.tif"
    assert voxel_size(path, metadata=ome("µm")) == pytest.approx((50, 10, 20))
    assert voxel_size(path, metadata=ome("nm", 40, 5, 6)) == pytest.approx((40, 5, 6))
    assert voxel_size(path, metadata={"axes": "ZYX"}) is None


def test_imagej_sizes_are_read_in_their_unit(tmp_path):
    metadata = {"axes": "ZYX", "spacing": 0.05, "unit": "um"}
    size = voxel_size(
        tmp_path / "a.tif", imagej=True, metadata=metadata, resolution=(1 / 0.008, 1 / 0.004)
    )
    assert size == pytest.approx((50, 4, 8))


def test_imagej_without_a_length_as_unit_says_nothing(tmp_path):
    metadata = {"axes": "ZYX", "spacing": 1.0, "unit": "pixel"}
    assert voxel_size(tmp_path / "a.tif", imagej=True, metadata=metadata, resolution=(1, 1)) is None


def test_a_plain_section_is_believed_in_centimetres_and_not_in_inches(tmp_path):
    path, per_cm = tmp_path / "a.tif", 1e7 / 5
    plain = {"data": STACK[0], "resolution": (per_cm, per_cm)}
    assert voxel_size(path, **plain, resolutionunit="CENTIMETER") == pytest.approx((5, 5, 5))
    assert voxel_size(path, **plain, resolutionunit="INCH") is None


def test_a_plain_stack_says_nothing_of_z(tmp_path):
    options = {"resolution": (2e6, 2e6), "resolutionunit": "CENTIMETER"}
    assert voxel_size(tmp_path / "a.tif", photometric="minisblack", **options) is None


def test_an_impossible_size_is_left_out_and_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert voxel_size(tmp_path / "a.ome.tif", metadata=ome("mm")) is None
    assert "no EM volume has that" in caplog.text
