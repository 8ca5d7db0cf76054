"""A stack to work on, and where its objects are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks.subject import open_sources, repeated
from mitosam.data.masks import pieces
from mitosam.data.oracle import object_boxes, object_points
from mitosam.io.volume import Volume
from mitosam.io.write import write_sections_tiff

PHANTOM_YX = (768, 1024)


def write_stack(
    folder: Path, images: str | None, masks: str | None, num_sections: int
) -> tuple[Path, Volume]:
    """The images as a file, repeated to so many sections, and the masks that belong to them."""
    sources = open_sources(images, masks, (min(num_sections, 12), *PHANTOM_YX))
    image_volume, mask_volume = (repeated(volume, num_sections) for volume in sources)
    path = folder / f"{Path(image_volume.name).stem}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sections_tiff(
        path,
        (np.ascontiguousarray(section) for section in image_volume.sections()),
        shape_zyx=image_volume.shape_zyx,
        dtype=image_volume.dtype,
    )
    return path, mask_volume


def boxes_of(masks: Volume, z: int) -> Float[np.ndarray, "k 4"]:
    """A box round each object of a section."""
    return object_boxes(pieces(masks.section(z) > 0))


def points(masks: Volume, count: int) -> Iterator[tuple[int, float, float]]:
    """So many points on objects, section by section and over again: z, x, y."""
    given = 0
    while True:
        for z in range(len(masks)):
            for x, y in object_points(pieces(masks.section(z) > 0))[:4]:
                if given == count:
                    return
                given += 1
                yield z, float(x), float(y)
