"""Blocks on disk: what is begun anew, and what must never be."""

from __future__ import annotations

import errno
import pickle
import shutil

import numpy as np
import pytest
import zarr

from mitosam.errors import DamagedFileError, StorageError
from mitosam.geometry import Box
from mitosam.inference.block_array import BlockArray
from mitosam.inference.blocks import sections_grid

GRID = sections_grid((4, 6, 5), 2)
BLOCK = np.arange(60, dtype=np.uint8).reshape(1, 2, 6, 5)


@pytest.fixture
def folder(tmp_path):
    opened(tmp_path / "array").write(1, BLOCK)
    return tmp_path / "array"


def opened(folder, dtype=np.uint8):
    return BlockArray(folder, GRID, dtype)


def test_a_block_is_read_back_by_whoever_opens_the_array(folder):
    again = opened(folder)
    assert again.missing() == [0]
    assert again.check(1)
    np.testing.assert_array_equal(again.read(GRID.box(1)), BLOCK)


@pytest.mark.parametrize("failing", [zarr.open_array, open])
def test_a_disk_that_fails_for_a_moment_costs_no_block(folder, monkeypatch, failing):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        if failing is open:
            patched.setattr("pathlib.Path.read_bytes", fail)
        else:
            patched.setattr(zarr, "open_array", fail)
        with pytest.raises((StorageError, DamagedFileError), match="Input/output error"):
            opened(folder)
    assert opened(folder).check(1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"zarr_format": 3, "node_type": "array"}'])
def test_an_array_whose_metadata_are_damaged_is_begun_anew(folder, text):
    (folder / "array.zarr" / "zarr.json").write_text(text)
    assert opened(folder).missing() == [0, 1]


def test_an_array_that_a_stop_left_without_metadata_is_begun_anew(folder):
    (folder / "array.zarr" / "zarr.json").unlink()
    assert opened(folder).missing() == [0, 1]


def test_an_array_of_another_kind_is_begun_anew(folder):
    assert opened(folder, np.uint32).missing() == [0, 1]


def test_a_worker_that_does_not_see_the_array_makes_none(folder):
    sent = pickle.dumps(opened(folder))
    assert pickle.loads(sent).check(1)
    shutil.rmtree(folder)
    with pytest.raises(DamagedFileError, match="cannot be opened"):
        pickle.loads(sent)
    assert not folder.exists()


def test_a_block_of_zeros_takes_no_file_and_is_told_from_one_that_lost_its_own(folder):
    array, box = opened(folder), GRID.box(1)
    assert not array.is_blank(box)
    (chunk,) = (path for path in (folder / "array.zarr" / "c").rglob("*") if path.is_file())
    array.write(1, np.zeros_like(BLOCK))
    assert array.is_blank(box)
    assert not chunk.exists()
    assert opened(folder).check(1)
    assert not array.is_blank(Box((1, 0, 0), (3, 6, 5)))  # of which a block is not done
    np.testing.assert_array_equal(array.read(box), np.zeros_like(BLOCK))
    chunk.write_bytes(b"left by something")
    assert not opened(folder).check(1)
    array.write(1, BLOCK)
    chunk.unlink()
    assert not opened(folder).check(1)
