"""Single PNG and JPEG images."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError
from mitosam.io.grey import log_colour, to_grey
from mitosam.io.limits import check_image
from mitosam.io.volume import READ_ERRORS, Volume, check_dtype

MOST_POSSIBLE = 1100
"""Bytes that one byte of a PNG (deflate: 1032) or a JPEG (two bits a block: 1024) can make."""
SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
"""Whatever its name, no other is opened: Pillow hands EPS to another program, for one."""

_DTYPES = {"1": "bool", "I;16": "uint16", "I;16B": "uint16", "I": "int32", "F": "float32"}
_COLOURS = {"LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "PA": 2}


@dataclass(frozen=True, slots=True)
class RasterHeader:
    """What an image's first bytes tell: its size, dtype, and Pillow's name of its pixel kind."""

    shape_yx: tuple[int, int]
    dtype: np.dtype[Any]
    mode: str

    @property
    def num_bytes(self) -> int:
        """What its pixels take in memory."""
        return math.prod(self.shape_yx) * self.num_channels * self.dtype.itemsize

    @property
    def num_channels(self) -> int:
        """Values a pixel in the file."""
        return _COLOURS.get(self.mode, 1)


def read_header(path: Path) -> RasterHeader:
    """Size and dtype of an image without decoding its pixels."""
    from PIL import Image

    with _readable(path), Image.open(path, formats=FORMATS) as image:
        (width, height), mode = image.size, image.mode
    dtype = check_dtype(str(path), np.dtype(_DTYPES.get(mode, "uint8")))
    return RasterHeader((int(height), int(width)), dtype, mode)


def read_raster(path: Path) -> Shaped[np.ndarray, "h w"]:
    """An image's grey values; a palette image gives its indices, which is how masks use them."""
    from PIL import Image

    header = read_header(path)
    as_is = {"P": "P", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}.get(header.mode)
    check_image(path, header.num_bytes, path.stat().st_size, MOST_POSSIBLE)
    with _readable(path), Image.open(path, formats=FORMATS) as image:
        pixels = np.asarray(image.convert(as_is) if as_is else image)
    return to_grey(pixels, str(path)).astype(header.dtype, copy=False)


def open_raster(path: Path) -> Volume:
    """A PNG or JPEG as a volume of one section."""
    header = read_header(path)
    if header.num_channels > 2:
        log_colour(str(path), header.num_channels)
    return Volume(
        name=path.stem,
        shape_zyx=(1, *header.shape_yx),
        dtype=header.dtype,
        section_names=(path.name,),
        read_section=lambda _: read_raster(path),
        named=True,
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn a decoder's complaint into ours, and let EM's large sections through."""
    try:
        with _UNLIMITED:
            yield
    except READ_ERRORS as error:
        raise InputError(
            f"{path} is not a whole PNG or JPEG image ({str(error) or type(error).__name__}); "
            "copy it again from its source"
        ) from error


class _Unlimited:
    """While any thread is inside, Pillow has no limit on pixels, which is one for all threads.

    Its default, 89 megapixels, guards web servers; EM is larger.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._limit: int | None = None

    def __enter__(self) -> None:
        from PIL import Image

        with self._lock:
            if not self._num_inside:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._num_inside += 1

    def __exit__(self, *_: object) -> None:
        from PIL import Image

        with self._lock:
            self._num_inside -= 1
            if not self._num_inside:
                Image.MAX_IMAGE_PIXELS = self._limit


_UNLIMITED = _Unlimited()
