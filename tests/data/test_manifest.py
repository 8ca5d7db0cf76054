from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.data.manifest import MAX_BYTES, is_manifest, read_manifest
from mitosam.errors import InputError, InputNotFoundError

WHOLE = """\
title = "two"
licence = "CC0"

[[volume]]
name = "first"
images = "a/images.tif"
masks = "a/masks.tif"
voxel_size_nm = [5, 5, 5]
split = { train = "1-10", test = "15-20" }

[[volume]]
name = "second"
images = "b"
masks = "b_masks"
use = "test"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "dataset.toml"
    path.write_text(text)
    return path


def volume(**values: object) -> str:
    keys = {"name": '"v"', "images": '"i.tif"', "masks": '"m.tif"'} | values
    return "[[volume]]\n" + "\n".join(f"{key} = {value}" for key, value in keys.items() if value)


def test_a_manifest_names_volumes_from_its_own_folder_on(tmp_path):
    manifest = read_manifest(write(tmp_path, WHOLE))
    first, second = manifest.volume
    assert (first.name, first.images) == ("first", tmp_path / "a" / "images.tif")
    assert first.split.train == "1-10"
    assert (second.use, second.masks) == ("test", tmp_path / "b_masks")
    assert first.voxel_size_nm == (5.0, 5.0, 5.0)


def test_a_manifest_is_known_by_its_suffix():
    assert is_manifest(Path("dataset.toml"))
    assert is_manifest(Path("SET.TOML"))
    assert not is_manifest(Path("stack.tif"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (volume(imags='"x"'), r"line 5: volume.1.imags is not a key .* did you mean images\?"),
        ("titel = 3\n" + volume(), r"line 1: titel is not a key .* did you mean title\?"),
        (volume(masks=""), r"line 1: volume\.1\.masks is missing"),
        (volume() + "\n" + volume(), "two are called v"),
        (volume() + "\n" + volume(name='"V"'), "two are called v"),
        (volume(use='"train"', split='{ train = "1-3" }'), "give only one of them"),
        (volume(split="{}"), "line 5: volume.1.split: split must name the sections"),
        (volume(split='{ tain = "1" }'), r"tain is not a key .* did you mean train\?"),
        (volume(voxel_size_nm="[5, 5, 0]"), "line 5: volume.1.voxel_size_nm.3: .*greater than 0"),
        (volume(voxel_size_nm="[5, 5, inf]"), "voxel_size_nm"),
        (volume(name='"../x"'), "line 2: volume.1.name"),
        (volume(name='".hidden"'), "volume.1.name"),
        (volume(images_sha256='"abc"'), "line 5: volume.1.images_sha256"),
        (volume(use='"all"'), "line 5: volume.1.use: Input should be 'train'"),
        ("title = 'x'", "volume is missing"),
        ("volume = []", "volume: .*at least 1"),
        ("volume = 3", "volume"),
        ("[[volume]\n", "is not a TOML file: .*line 1"),
        (volume() + "\n" + volume(name='"w"', use='"tran"'), "line 9: volume.2.use"),
    ],
)
def test_what_is_wrong_is_said_with_its_key_and_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_manifest(write(tmp_path, text))


@pytest.mark.parametrize("key", ["images", "masks"])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.tif", "a/../../secret.tif", "a/b/../../.."]
)
def test_no_path_leads_out_of_the_folder_unless_its_user_says_so(tmp_path, key, path):
    made = write(tmp_path, volume(**{key: f'"{path}"'}))
    with pytest.raises(InputError, match=f"line [34]: {key} of v .*--allow-outside") as raised:
        read_manifest(made)
    assert "\n" not in str(raised.value)
    (entry,) = read_manifest(made, allow_outside=True).volume
    assert getattr(entry, key) == tmp_path / path


def test_no_link_leads_out_of_the_folder(tmp_path):
    inside = tmp_path / "inside"
    (inside / "sections").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"")
    (inside / "own.png").write_bytes(b"")
    (inside / "sections" / "fine.png").symlink_to("../own.png")
    made = write(inside, volume(images='"sections"'))
    assert read_manifest(made).volume[0].images == inside / "sections"
    (inside / "i.tif").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="images of v leads out of the manifest's folder"):
        read_manifest(write(inside, volume()))
    (inside / "sections" / "z.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"holds a link out of .*sections/z\.png"):
        read_manifest(write(inside, volume(images='"sections"')))


def test_a_manifest_that_is_itself_a_link_reaches_no_further(tmp_path):
    real, other = tmp_path / "real", tmp_path / "other"
    real.mkdir()
    other.mkdir()
    write(real, volume())
    (other / "dataset.toml").symlink_to(real / "dataset.toml")
    assert read_manifest(other / "dataset.toml").volume[0].images == other / "i.tif"


@pytest.mark.parametrize("url", ["https://example.org/i.tif", "file:///i.tif", "s3://bucket/i"])
@pytest.mark.parametrize("allow_outside", [False, True])
def test_nothing_is_fetched_by_naming_it(tmp_path, url, allow_outside):
    with pytest.raises(InputError, match="must be a path on this machine"):
        read_manifest(write(tmp_path, volume(images=f'"{url}"')), allow_outside=allow_outside)


def test_a_path_with_a_nul_is_no_path(tmp_path):
    with pytest.raises(InputError, match="must be a path on this machine"):
        read_manifest(write(tmp_path, volume(images='"a\\u0000b"')))


def test_what_is_no_text_or_too_large_is_no_manifest(tmp_path):
    path = tmp_path / "dataset.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="larger than 4 MiB"):
        read_manifest(path)
    with pytest.raises(InputNotFoundError, match="does not exist"):
        read_manifest(tmp_path / "none.toml")
    with pytest.raises(InputError):
        read_manifest(tmp_path)


def test_tables_within_tables_without_end_are_an_error_of_ours(tmp_path):
    with pytest.raises(InputError):
        read_manifest(write(tmp_path, "a = " + "[" * 20000))


@given(st.text(max_size=200))
def test_any_text_is_a_manifest_or_an_error_of_ours(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "dataset.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(InputError):
        read_manifest(path)
