"""Volumes brought to one pixel size within their sections; the distance of sections stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError
from mitosam.geometry import Box, Window
from mitosam.io.volume import Volume

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MIN_SIDE_PX = 16
MAX_ENLARGEMENT = 8.0
"""Along each axis; a pixel of that many would show nothing of its own, so a size is wrong."""
VOTES = (1 / 6, 1 / 2, 5 / 6)
"""Where a new pixel asks the masks, along each axis, in shares of its own side."""


def scaled_shape(
    shape_yx: tuple[int, int], pixel_yx_nm: tuple[float, float], common_pixel_nm: float
) -> tuple[int, int]:
    """Pixels of a section that covers the same ground in pixels of another size.

    >>> scaled_shape((768, 1024), (5.0, 5.0), 8.0)
    (480, 640)
    """
    height, width = (
        round(count * size / common_pixel_nm)
        for count, size in zip(shape_yx, pixel_yx_nm, strict=True)
    )
    return height, width


@dataclass(frozen=True, slots=True)
class Resampling:
    """Sections in another number of pixels, a window at a time, as `resample_image` gives them."""

    old_yx: tuple[int, int]
    new_yx: tuple[int, int]

    def needed(self, wanted: Window) -> Window:
        """The old pixels that a window of new ones is made of."""
        (y, bottom), (x, right) = (
            _reach(_weights(old, new)[span])
            for old, new, span in zip(self.old_yx, self.new_yx, wanted.slices, strict=True)
        )
        return Window(y, x, bottom - y, right - x)

    def apply(
        self, pixels: Shaped[np.ndarray, "h w"], place: Window, wanted: Window
    ) -> Shaped[np.ndarray, "height width"]:
        """A window of the new pixels, from the old ones at `place`, which hold all it needs."""
        rows, columns = (
            _weights(old, new)[new_span][:, old_span]
            for old, new, new_span, old_span in zip(
                self.old_yx, self.new_yx, wanted.slices, place.slices, strict=True
            )
        )
        return _blend(pixels, rows, columns)


def to_common_pixel(
    images: Volume,
    masks: Volume,
    common_pixel_nm: float,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> tuple[Volume, Volume]:
    """Both volumes with pixels of about `common_pixel_nm`, scaled as their sections are read.

    A section keeps its ground, so its pixels are of the asked size to within half a pixel over its
    side; the volumes' voxel size says what they really are. A volume that has the size already is
    handed back as it is.

    Raises
    ------
    InputError
        The voxel size is unknown, or nothing would be left of a section.
    """
    found = voxel_size_nm or images.voxel_size_nm or masks.voxel_size_nm
    scaled = images_at_pixel(images, common_pixel_nm, found)
    if scaled.shape_zyx == images.shape_zyx:
        return scaled, replace(masks, voxel_size_nm=found)
    shape_yx = scaled.shape_zyx[1:]
    return scaled, replace(
        masks,
        shape_zyx=(len(masks), *shape_yx),
        voxel_size_nm=scaled.voxel_size_nm,
        read_section=lambda z: resample_labels(masks.section(z), shape_yx),
        read_box=None,
        chunk_zyx=None,
    )


def images_at_pixel(
    images: Volume,
    common_pixel_nm: float,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> Volume:
    """The images of `to_common_pixel`, which are read by boxes where the volume is.

    Raises
    ------
    InputError
        The voxel size is unknown, or nothing would be left of a section.
    """
    found = voxel_size_nm or images.voxel_size_nm
    if found is None:
        raise InputError(
            f"{images.name} has no voxel size, which common_pixel_nm needs; "
            "say voxel_size_nm in the manifest, or pass --voxel-size"
        )
    (_, *old_yx), (z_nm, y_nm, x_nm) = images.shape_zyx, found
    old = (old_yx[0], old_yx[1])
    new = scaled_shape(old, (y_nm, x_nm), common_pixel_nm)
    if min(new) < MIN_SIDE_PX:
        raise InputError(
            f"sections of {images.name} would be {new[1]} x {new[0]} px at {common_pixel_nm:g} nm "
            "a pixel; choose a smaller common_pixel_nm, or check the voxel size"
        )
    if max(y_nm, x_nm) > MAX_ENLARGEMENT * common_pixel_nm:
        raise InputError(
            f"{images.name} has pixels of {y_nm:g} x {x_nm:g} nm, and {common_pixel_nm:g} nm "
            f"a pixel would enlarge its sections to {new[1]} x {new[0]} px; check the voxel size, "
            f"or leave them as they are with --set data.common_pixel_nm={max(y_nm, x_nm):g}"
        )
    if new == old:
        return replace(images, voxel_size_nm=found)
    scaling = Resampling(old, new)

    def read_box(box: Box) -> Shaped[np.ndarray, "z y x"]:
        (z0, y0, x0), (z1, y1, x1) = box.start_zyx, box.stop_zyx
        wanted = Window(y0, x0, y1 - y0, x1 - x0)
        place = scaling.needed(wanted)
        bottom, right = place.y + place.height, place.x + place.width
        stack = images.box(Box((z0, place.y, place.x), (z1, bottom, right)))
        return np.stack([scaling.apply(section, place, wanted) for section in stack])

    return replace(
        images,
        shape_zyx=(len(images), *new),
        voxel_size_nm=(z_nm, y_nm * old[0] / new[0], x_nm * old[1] / new[1]),
        read_section=lambda z: resample_image(images.section(z), new),
        read_box=read_box if images.read_box else None,
        chunk_zyx=None,
    )


def resample_image(
    section: Shaped[np.ndarray, "height width"], shape_yx: tuple[int, int]
) -> Shaped[np.ndarray, "h w"]:
    """The section in another number of pixels, in its own dtype.

    Smaller: each pixel is the mean of the ground it covers, so that nothing aliases and the mean of
    the section stays. Larger: linear between the pixels' middles.
    """
    height, width = section.shape
    return _blend(section, _weights(height, shape_yx[0]), _weights(width, shape_yx[1]))


def resample_labels(
    labels: Shaped[np.ndarray, "height width"], shape_yx: tuple[int, int]
) -> Shaped[np.ndarray, "h w"]:
    """The ids in another number of pixels; no id is made up.

    A smaller section takes, for each pixel, the id that most of nine places in it have, and of
    equally many that of its middle; a larger one takes the nearest.
    """
    height, width = labels.shape
    if shape_yx[0] >= height and shape_yx[1] >= width:
        places = _places(height, shape_yx[0], 0.5), _places(width, shape_yx[1], 0.5)
        return np.asarray(labels[np.ix_(*places)])
    rows = [_places(height, shape_yx[0], share) for share in VOTES]
    columns = [_places(width, shape_yx[1], share) for share in VOTES]
    middle = labels[np.ix_(rows[1], columns[1])]
    votes = np.stack([labels[np.ix_(row, column)] for row in rows for column in columns])
    unanimous = (votes == middle).all(axis=0)
    chosen = middle.copy()
    chosen[~unanimous] = _majority(votes[:, ~unanimous], middle[~unanimous])
    return np.asarray(chosen)


def _majority(
    votes: Shaped[np.ndarray, "v n"], middle: Shaped[np.ndarray, " n"]
) -> Shaped[np.ndarray, " n"]:
    """The most frequent of each column's votes."""
    counts = np.stack([(votes == vote).sum(axis=0) for vote in votes]) * 2 + (votes == middle)
    return np.asarray(np.take_along_axis(votes, counts.argmax(axis=0)[None], axis=0)[0])


def _places(num_old: int, num_new: int, share: float) -> Shaped[np.ndarray, " n"]:
    """The old pixel in which each new one has its place."""
    places = np.floor((np.arange(num_new) + share) * (num_old / num_new)).astype(int)
    return np.asarray(np.clip(places, 0, num_old - 1))


def _blend(
    section: Shaped[np.ndarray, "height width"], rows: csr_array, columns: csr_array
) -> Shaped[np.ndarray, "h w"]:
    wide = section.astype(np.float32 if section.dtype.itemsize <= 2 else np.float64)
    blended = (columns @ (rows @ wide).T).T
    if section.dtype.kind in "ui":
        limits = np.iinfo(section.dtype)
        blended = np.clip(np.rint(blended), limits.min, limits.max)
    return np.asarray(np.ascontiguousarray(blended.astype(section.dtype)))


def _reach(weights: csr_array) -> tuple[int, int]:
    """The first column that is used, and the one after the last."""
    return int(weights.indices.min()), int(weights.indices.max()) + 1


@lru_cache(16)
def _weights(num_old: int, num_new: int) -> csr_array:
    """How much of each old pixel goes into each new one, along one axis; each row adds up to 1."""
    from scipy.sparse import csr_array

    scale = num_old / num_new
    if scale > 1:
        starts = np.arange(num_new) * scale
        reach = int(np.ceil(scale)) + 1
        old = np.floor(starts).astype(int)[:, None] + np.arange(reach)
        shares = np.minimum(old + 1, (starts + scale)[:, None]) - np.maximum(old, starts[:, None])
        shares = np.clip(shares, 0, None) / scale
    else:
        middles = np.clip((np.arange(num_new) + 0.5) * scale - 0.5, 0, num_old - 1)
        first = np.floor(middles).astype(int)
        old = np.stack([first, first + 1], axis=1)
        shares = np.stack([first + 1 - middles, middles - first], axis=1)
    rows = np.broadcast_to(np.arange(num_new)[:, None], old.shape)
    used = (old < num_old) & (shares > 0)
    return csr_array(
        (shares[used].astype(np.float32), (rows[used], old[used])), shape=(num_new, num_old)
    )
