"""Honest data sets as strangers hand them on, the lock of a writer, and reading them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import imageio.v3 as iio

from mitosam.data.archives import unpack_members
from mitosam.data.manifest import read_manifest as read_manifest_file
from mitosam.locks import claims_on, read_owner, why_dead
from mitosam.storage import sole_writer
from tests.fuzz.images import volume

MANIFEST = """
title = "A set"
licence = "CC0"
common_pixel_nm = 8

[[volume]]
name = "one"
images = "images.tif"
masks = "masks.tif"
voxel_size_nm = [30, 8, 8]
split = { train = "1-2", test = "3" }

[[volume]]
name = "two"
images = "images.tif"
masks = "masks.tif"
use = "test"
mask_value = 2
"""


def manifest(folder: Path) -> Path:
    (folder / "set.toml").write_text(MANIFEST)
    return folder / "set.toml"


def read_manifest(path: Path) -> None:
    """All volumes lie in the manifest's folder, or it is refused."""
    for entry in read_manifest_file(path).volume:
        assert entry.images.resolve().is_relative_to(path.parent.resolve())


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for z, section in enumerate(volume()):
            file.writestr(f"set/{z}.png", iio.imwrite("<bytes>", section, extension=".png"))
    return folder / "a.zip"


def read_archive(path: Path) -> None:
    """What is unpacked stays in its folder."""
    try:
        unpack_members(path, "*.png", path.parent / "unpacked", max_bytes=1 << 24)
    finally:
        assert {found.name for found in path.parent.iterdir()} <= {path.name, "unpacked"}


def claim(folder: Path) -> Path:
    with sole_writer(folder / "out"):
        (found,) = claims_on(folder / "out")
        content = found.read_bytes()
    found.write_bytes(content)
    return found


def read_claim(path: Path) -> None:
    owner = read_owner(path)
    why_dead(path)
    assert owner is None or owner.describe()
