from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from mitosam.errors import DamagedFileError
from mitosam.sealed_tensors import SEAL, check_tensor_file, check_tensors, seal_tensors

TENSORS = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.ones(5, np.int64)}


def test_other_software_reads_a_sealed_file_with_its_metadata_as_before(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(seal_tensors(save(TENSORS, {"note": "µ", "also": "1"})))
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
        assert metadata.pop(SEAL).startswith("crc32c:")
        assert metadata == {"note": "µ", "also": "1"}
        assert np.array_equal(file.get_tensor("a"), TENSORS["a"])
        assert np.array_equal(file.get_tensor("b"), TENSORS["b"])


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_the_same_content_is_the_same_file_whatever_the_order_of_the_metadata(metadata):
    backwards = dict(reversed(metadata.items()))
    sealed = seal_tensors(save(TENSORS, metadata))
    assert seal_tensors(save(TENSORS, backwards)) == sealed
    assert seal_tensors(sealed) == sealed


def gives_other_tensors(content):
    try:
        found = load(content)
    except SafetensorError:
        return False
    return any(found[name].tobytes() != tensor.tobytes() for name, tensor in TENSORS.items())


def test_no_flipped_bit_gives_other_tensors(tmp_path):
    path = tmp_path / "a.safetensors"
    content = seal_tensors(save(TENSORS, {"note": "1"}))
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            try:
                check_tensors(path, bytes(flipped))
            except DamagedFileError:
                continue
            assert not gives_other_tensors(bytes(flipped))


def test_a_cut_file_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    content = seal_tensors(save(TENSORS))
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match=r"a.safetensors is damaged"):
            check_tensors(path, content[:length])
        with pytest.raises(DamagedFileError, match=r"a.safetensors is damaged"):
            check_tensor_file(path)


def test_a_file_of_old_has_no_seal_and_is_taken(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(TENSORS))
    assert not check_tensors(path, path.read_bytes())
    assert not check_tensor_file(path)


def test_a_file_that_changed_is_checked_again(tmp_path):
    path = tmp_path / "a.safetensors"
    content = seal_tensors(save(TENSORS))
    path.write_bytes(content)
    assert check_tensor_file(path)
    path.write_bytes(content[:-1] + b"\x07")
    with pytest.raises(DamagedFileError, match="checksum does not fit"):
        check_tensor_file(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 8, b"\2\0\0\0\0\0\0\0[]", b"\7\0\0\0\0\0\0\0[[[[[[[", b"x" * 100],
)
def test_what_is_no_such_file_is_damaged(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for check in (lambda: check_tensors(path, content), lambda: check_tensor_file(path)):
        with pytest.raises(DamagedFileError):
            check()
