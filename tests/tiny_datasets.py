"""A manifest of phantom volumes that differ in size, format, dtype and pixel size."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np

from mitosam.data.phantom import make_phantom
from mitosam.io.write import write_stack_tiff

FINE_NM, COARSE_NM = (10.0, 10.0, 10.0), (40.0, 15.0, 15.0)

MANIFEST = """\
title = "two phantoms"
citation = "nobody"
licence = "CC0"

[[volume]]
name = "fine"
images = "fine/images.tif"
masks = "fine/masks.tif"
split = { train = "1-2", validation = "3", test = "4" }

[[volume]]
name = "coarse"
images = "coarse/images"
masks = "coarse/masks"
voxel_size_nm = [40, 15, 15]
split = { train = "1", test = "3" }
licence = "CC-BY-4.0"
"""


def write_volumes(folder: Path) -> None:
    """A TIFF stack of 8 bit in `fine`, and folders of 16-bit PNG sections in `coarse`."""
    fine = make_phantom((4, 192, 192), 3, FINE_NM)
    (folder / "fine").mkdir(parents=True)
    write_stack_tiff(folder / "fine" / "images.tif", fine.images, FINE_NM)
    write_stack_tiff(folder / "fine" / "masks.tif", fine.labels.astype(np.uint16), FINE_NM)
    coarse = make_phantom((3, 160, 224), 4, COARSE_NM)
    for name, stack in (
        ("images", coarse.images.astype(np.uint16) * 120 + 3000),
        ("masks", ((coarse.labels > 0) * 255).astype(np.uint8)),
    ):
        (folder / "coarse" / name).mkdir(parents=True)
        for z, section in enumerate(stack):
            iio.imwrite(folder / "coarse" / name / f"{z:02}.png", section)


def write_dataset(folder: Path, text: str = MANIFEST) -> Path:
    """The volumes and their manifest in a folder."""
    write_volumes(folder)
    (folder / "dataset.toml").write_text(text)
    return folder / "dataset.toml"
