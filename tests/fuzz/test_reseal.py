"""Sealing again: what was opened reads as before, and a fitting seal hides damage."""

from __future__ import annotations

import json
from random import Random

import pytest

from mitosam.checksums import checksum, read_sealed, unsealed_object, write_sealed
from mitosam.errors import DamagedFileError
from tests.fuzz.formats import FORMATS
from tests.fuzz.mutate import mutate
from tests.fuzz.reseal import is_sealed, opened, sealed_again
from tests.fuzz.worker import attempt, honest, write

SEALED = (
    "tuned model", "training checkpoint", "cached embedding", "automatic record",
    "prepared volume", "run", "map blocks",
)  # fmt: skip


@pytest.mark.parametrize("name", SEALED)
def test_what_is_opened_and_sealed_again_is_read(tmp_path, name):
    files, target = honest(name)
    assert is_sealed(files)
    assert opened(files) != files
    write(sealed_again(files, opened(files)), tmp_path)
    assert attempt(FORMATS[name], tmp_path / target) == ("read", "")


def test_a_seal_fits_whatever_was_put_under_it(tmp_path):
    write_sealed(tmp_path / "a", b"whole")
    files = {"a": (tmp_path / "a").read_bytes()}
    assert opened(files) == {"a": b"whole"}
    (tmp_path / "a").write_bytes(sealed_again(files, {"a": b"other"})["a"])
    assert read_sealed(tmp_path / "a") == b"other"


def test_checksums_of_other_files_follow_their_damage(tmp_path):
    from mitosam.checksums import sealed_object

    whole, other = b"labels", b"LABELS"
    record = json.dumps(sealed_object({"files": {"a.tif": checksum(whole)}})).encode()
    files = {"a.tif": whole, "record.json": record}
    damaged = sealed_again(files, opened(files) | {"a.tif": other})
    found = unsealed_object(tmp_path, json.loads(damaged["record.json"]))
    assert found == {"files": {"a.tif": checksum(other)}}


def test_damage_without_a_new_seal_is_found(tmp_path):
    write_sealed(tmp_path / "a", bytes(range(200)))
    files = {"a": (tmp_path / "a").read_bytes()}
    for number in range(50):
        damaged = mutate(files, Random(number))
        if damaged["a"] != files["a"]:
            (tmp_path / "a").write_bytes(damaged["a"])
            with pytest.raises(DamagedFileError):
                read_sealed(tmp_path / "a")
