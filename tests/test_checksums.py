from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.checksums import (
    checksum,
    checksum_of_file,
    checksum_of_parts,
    read_sealed,
    sealed_object,
    sealed_text,
    unsealed_object,
    unsealed_text,
    write_sealed,
)
from mitosam.errors import DamagedFileError, InputError, StorageError
from tests.full_disk import no_file_above

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def bit_by_bit(data):
    """CRC-32C by its definition (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return f"crc32c:{crc ^ 0xFFFFFFFF:08x}"


@given(st.binary(max_size=200))
def test_the_checksum_is_crc_32c_of_bytes_of_any_kind(data):
    assert checksum(data) == bit_by_bit(data)
    assert checksum(bytearray(data)) == checksum(memoryview(data)) == checksum(data)


@given(st.lists(st.binary(max_size=50)))
def test_parts_sum_up_to_the_checksum_of_the_whole(parts):
    assert checksum_of_parts(parts) == checksum(b"".join(parts))


def test_a_file_and_an_array_have_the_checksum_of_their_bytes(tmp_path):
    data = np.arange(3 << 18, dtype=np.uint32).reshape(2, -1)  # 3 MiB, so several pieces
    (tmp_path / "a").write_bytes(data.tobytes())
    assert checksum(data.data) == checksum(data.tobytes()) == checksum_of_file(tmp_path / "a")


@given(st.binary(max_size=300))
def test_what_was_sealed_is_read_as_it_was(tmp_path_factory, payload):
    path = tmp_path_factory.mktemp("sealed") / "deep" / "block"
    write_sealed(path, payload)
    assert read_sealed(path) == payload
    write_sealed(path, memoryview(payload))
    assert read_sealed(path) == payload


def test_an_array_of_wide_numbers_is_sealed_as_bytes(tmp_path):
    array = np.arange(6, dtype=np.int64)
    write_sealed(tmp_path / "block", array.data)
    assert read_sealed(tmp_path / "block") == array.tobytes()


def test_each_flipped_bit_and_each_lost_or_added_end_is_found(tmp_path):
    path = tmp_path / "block"
    write_sealed(path, bytes(range(40)))
    content = path.read_bytes()
    flipped = [
        content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :]
        for i in range(len(content))
        for bit in range(8)
    ]
    cut = [content[:length] for length in range(len(content))]
    for damaged in [*flipped, *cut, content + b"\0", content[1:], content + content]:
        path.write_bytes(damaged)
        with pytest.raises(
            DamagedFileError, match=r"block is damaged .*; remove it, and run again"
        ):
            read_sealed(path)


def test_damage_is_wrong_input_and_an_absent_file_is_not_there(tmp_path):
    assert issubclass(DamagedFileError, InputError)
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "nowhere")


def test_a_full_disk_keeps_the_old_file(tmp_path):
    write_sealed(tmp_path / "block", b"old")
    with no_file_above(100), pytest.raises(StorageError):
        write_sealed(tmp_path / "block", bytes(1000))
    assert read_sealed(tmp_path / "block") == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@given(st.dictionaries(st.text().filter(lambda key: key != "checksum"), PLAIN))
def test_an_object_keeps_its_checksum_through_json_in_any_order(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "a.json"
    text = json.dumps(sealed_object(values))
    shuffled = dict(reversed(json.loads(text).items()))
    assert unsealed_object(path, shuffled) == values


def test_a_changed_object_is_damaged_and_one_of_old_is_taken(tmp_path):
    sealed = sealed_object({"width": 10.0, "name": "µ"})
    with pytest.raises(DamagedFileError, match=r"a.json is damaged .*make it again"):
        unsealed_object(tmp_path / "a.json", sealed | {"width": 30.0})
    assert unsealed_object(tmp_path / "a.json", {"width": 30.0}) == {"width": 30.0}


@given(st.text(min_size=1).filter(lambda text: "\r" not in text))
def test_a_text_is_sealed_in_its_first_line_and_no_cut_or_change_goes_unseen(body):
    path = Path("settings.toml")
    sealed = sealed_text(body)
    assert sealed.startswith("# checksum: crc32c:")
    assert unsealed_text(path, sealed) == body
    assert unsealed_text(path, body) == body
    for changed in (sealed + "x", sealed[:-1]):
        with pytest.raises(DamagedFileError, match="remove its first line"):
            unsealed_text(path, changed)
