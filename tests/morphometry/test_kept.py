from __future__ import annotations

import logging

import numpy as np
import pytest

from mitosam.errors import DamagedFileError
from mitosam.morphometry.kept import Kept, content_key

ARRAYS = {"a": np.arange(6).reshape(2, 3), "empty": np.empty((0, 3)), "flag": np.array(True)}


def test_what_is_loaded_is_what_was_saved(tmp_path):
    kept = Kept(tmp_path)
    kept.save("one", "the key", ARRAYS)
    loaded = kept.load("one")
    assert set(loaded) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
    assert set(kept.load("one", "a")) == {"a"}
    assert kept.key("one") == "the key"


def test_nothing_is_no_key(tmp_path):
    assert Kept(tmp_path).key("one") is None


@pytest.mark.parametrize("at", [0, 100, -1])
def test_a_changed_byte_is_found(tmp_path, at, caplog):
    kept = Kept(tmp_path)
    kept.save("one", "key", ARRAYS)
    content = bytearray((tmp_path / "one.npz").read_bytes())
    content[at] ^= 1
    (tmp_path / "one.npz").write_bytes(content)
    with pytest.raises(DamagedFileError):
        kept.load("one")
    with caplog.at_level(logging.WARNING):
        assert kept.key("one") is None
    assert "made anew" in caplog.text


def test_keys_differ_in_facts_values_shapes_and_kinds():
    array = np.arange(6)
    keys = {
        content_key({"n": 1}, {"labels": array}),
        content_key({"n": 2}, {"labels": array}),
        content_key({"n": 1}, {"labels": array.reshape(2, 3)}),
        content_key({"n": 1}, {"labels": array.astype(np.int32)}),
        content_key({"n": 1}, {"labels": array[::-1]}),
        content_key({"n": 1}, {"labels": None}),
        content_key({"n": 1}, {"labels": np.zeros_like(array)}),
        content_key({"n": 1}, {"labels": np.zeros((2, 3), array.dtype)}),
        content_key({"n": 1}, {"labels": np.full(array.shape, np.nan, np.float32)}),
    }
    assert len(keys) == 9
    assert content_key({"n": 1}, {"labels": array.copy()}) in keys
