"""What pictures are made of: outlines, scale bars, and images inside the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import imageio.v3 as iio
import numpy as np
from jaxtyping import Bool, UInt8


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleBar:
    """A round length, in pixels and in words."""

    length_px: float
    label: str


def outline_path(
    mask: Bool[np.ndarray, "height width"], *, corner_yx: tuple[int, int] = (0, 0)
) -> str:
    """SVG path of a mask's outlines, holes included, in pixel edges; "" for an empty mask.

    `corner_yx` is where a mask that was cut from an image stood there.
    """
    # Imported here: SciPy and scikit-image take a second that `--help` should not wait for.
    from skimage.measure import find_contours

    outlines = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    top, left = corner_yx[0] - 0.5, corner_yx[1] - 0.5
    # -0.5: find_contours counts pixel centres, the page pixel edges, and the padding took one.
    return "".join(
        "M" + "L".join(f"{x + left:g},{y + top:g}" for y, x in outline[:-1]) + "Z"
        for outline in outlines
    )


def webp_uri(image: UInt8[np.ndarray, "height width *channels"], *, quality: int) -> str:
    """The image as a lossy WebP inside a data: address; `quality` runs from 0 to 100."""
    encoded: bytes = iio.imwrite("<bytes>", image, extension=".webp", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(encoded).decode("ascii")


def png_uri(image: UInt8[np.ndarray, "height width"]) -> str:
    """The image as a PNG inside a data: address."""
    encoded: bytes = iio.imwrite("<bytes>", image, extension=".png")
    return "data:image/png;base64," + base64.b64encode(encoded).decode("ascii")


def choose_scale_bar(width_px: int, pixel_nm: float) -> ScaleBar:
    """The longest of 1, 2, 5, 10, ... nm that fills at most a third of the image's width.

    >>> choose_scale_bar(256, 5.0)
    ScaleBar(length_px=40.0, label='200 nm')
    """
    length_nm = _round_length(width_px * pixel_nm / 3)
    micrometres = length_nm >= 1000
    label = f"{length_nm / 1000:g} µm" if micrometres else f"{length_nm:g} nm"
    return ScaleBar(length_px=length_nm / pixel_nm, label=label)


def choose_voxel_bar(width_px: int, pixel_voxels: float) -> ScaleBar:
    """The same in voxels, for images whose voxel size is unknown, at least one voxel long.

    >>> choose_voxel_bar(720, 2.5)
    ScaleBar(length_px=200.0, label='500 voxels')
    """
    length = max(1.0, _round_length(width_px * pixel_voxels / 3))
    return ScaleBar(
        length_px=length / pixel_voxels, label=f"{length:g} voxel{'' if length == 1 else 's'}"
    )


def _round_length(room: float) -> float:
    """The longest of 1, 2, 5, 10, ... that fits."""
    room *= 1 + 1e-9  # log10 may round up to the next decade
    decade = 10.0 ** np.floor(np.log10(room))
    return float(decade * max(step for step in (1, 2, 5) if step * decade <= room))
