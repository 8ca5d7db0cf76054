from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.data import archives
from mitosam.data.archives import unpack_members
from mitosam.errors import InputError, OutputExistsError


def pack(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def is_empty(folder: Path) -> bool:
    return not folder.exists() or not any(folder.iterdir())


def test_members_that_fit_come_to_lie_side_by_side(tmp_path):
    made = {"set/im/a.png": b"a", "set/im/b.png": b"bb", "set/im/": b"", "set/x/a.png": b"no"}
    archive = pack(tmp_path / "a.zip", made)
    assert unpack_members(archive, "set/im/*.png", tmp_path / "images") == 2
    found = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert found == {"a.png": b"a", "b.png": b"bb"}
    with pytest.raises(OutputExistsError):
        unpack_members(archive, "set/im/*.png", tmp_path / "images")


@pytest.mark.parametrize(
    "name", ["../a.png", "im/../../a.png", "/etc/a.png", "im\\..\\a.png", "C:/a.png", "im/.a.png"]
)
def test_no_member_leads_out_of_the_folder(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = pack(tmp_path / "a.zip", {name: b"x", "im/b.png": b"y"})
    with pytest.raises(InputError, match="leads out of its folder"):
        unpack_members(archive, "*.png", inside / "images")
    assert not list(inside.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "inside"]


def test_links_are_not_unpacked(tmp_path):
    link = zipfile.ZipInfo("im/a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="links are not unpacked"):
        unpack_members(tmp_path / "a.zip", "im/*", tmp_path / "images")


def test_members_of_one_name_would_hide_each_other(tmp_path):
    archive = pack(tmp_path / "a.zip", {"im/a.png": b"a", "im/x/A.png": b"b"})
    with pytest.raises(InputError, match="several members of one name"):
        unpack_members(archive, "im/*", tmp_path / "images")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 1000)
    archive = pack(tmp_path / "a.zip", {"a.png": bytes(10_000_000)})
    with pytest.raises(InputError, match="looks like a decompression bomb"):
        unpack_members(archive, "*", tmp_path / "images")


def test_what_unpacks_to_more_than_is_allowed_is_refused(tmp_path):
    archive = pack(tmp_path / "a.zip", {f"{n}.png": b"x" * 600 for n in range(3)})
    with pytest.raises(InputError, match="more than 1000 bytes"):
        unpack_members(archive, "*", tmp_path / "images", max_bytes=1000)
    assert is_empty(tmp_path / "images")


def test_an_archive_that_lies_about_its_sizes_is_an_error(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.png": b"x" * 5000})
    content = bytearray(archive.read_bytes())
    for place in range(len(content) - 4):
        if content[place : place + 4] == (5000).to_bytes(4, "little"):
            content[place : place + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(InputError):
        unpack_members(archive, "*", tmp_path / "images")
    assert is_empty(tmp_path / "images")


def test_what_is_not_there_or_no_archive_is_said(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.png": b"x"})
    with pytest.raises(InputError, match=r"holds no im/\*"):
        unpack_members(archive, "im/*", tmp_path / "images")
    archive.write_bytes(b"no archive")
    with pytest.raises(InputError, match="damaged zip archive"):
        unpack_members(archive, "*", tmp_path / "images")


@settings(max_examples=60)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 3))
def test_a_damaged_archive_is_an_error_of_ours_or_unpacks(tmp_path_factory, place, value, cut):
    folder = tmp_path_factory.mktemp("damaged")
    archive = pack(folder / "a.zip", {f"im/{n}.png": bytes(range(200)) for n in range(3)})
    content = bytearray(archive.read_bytes())
    content[place % len(content)] = value
    archive.write_bytes(bytes(content)[: len(content) - cut])
    try:
        unpack_members(archive, "im/*", folder / "images")
    except InputError:
        assert is_empty(folder / "images")
    assert {path.name for path in folder.iterdir()} <= {"a.zip", "images"}
