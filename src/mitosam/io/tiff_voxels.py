"""Voxel sizes from what OME, ImageJ and plain TIFF files say about themselves."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import tifffile

logger = logging.getLogger(__name__)

NM_PER_UNIT = {
    "pm": 1e-3, "picometer": 1e-3, "å": 0.1, "angstrom": 0.1,
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0, "nanometers": 1.0,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3, "\\u00b5m": 1e3,
    "micrometer": 1e3, "micrometre": 1e3, "micrometers": 1e3,
    "mm": 1e6, "millimeter": 1e6, "cm": 1e7, "centimeter": 1e7, "m": 1e9, "meter": 1e9,
}  # fmt: skip
PLAUSIBLE_NM = (0.05, 1000.0)
"""A pixel of an EM image; what lies outside is a screen's or a printer's resolution."""

_CENTIMETER = 3  # TIFF's ResolutionUnit; 2, the inch, is a printer's


def read_voxel_size_nm(
    file: tifffile.TiffFile, num_sections: int
) -> tuple[float, float, float] | None:
    """Voxel size z, y, x in nm, or None where the file does not say it or says the impossible.

    A single section has no z step; its pixel height stands in for it.
    """
    if file.is_ome:
        found = _from_ome(file.ome_metadata or "")
    elif file.is_imagej:
        found = _from_imagej(file)
    else:
        found = _from_resolution(_first(file), _resolution_unit_nm(_first(file)))
    return plausible_voxel_size_nm(str(file.filename), found, num_sections)


Sizes = tuple[float | None, float | None, float | None]


def plausible_voxel_size_nm(
    what: str, found: Sizes, num_sections: int
) -> tuple[float, float, float] | None:
    """The voxel size z, y, x in nm that a file states, or None where EM cannot have it.

    A single section has no z step; its pixel height stands in for it.
    """
    z, y, x = found
    if z is None and num_sections == 1:
        z = y
    if z is None and y and x and all(PLAUSIBLE_NM[0] <= size <= PLAUSIBLE_NM[1] for size in (y, x)):
        logger.warning(
            "%s: left out its pixel size of %g x %g nm, as it gives no distance of sections",
            what, y, x,
        )  # fmt: skip
    if z is None or y is None or x is None:
        return None
    if not all(PLAUSIBLE_NM[0] <= size <= PLAUSIBLE_NM[1] for size in (z, y, x)):
        logger.warning(
            "%s: left out its voxel size of %g x %g x %g nm, no EM volume has that",
            what, z, y, x,
        )  # fmt: skip
        return None
    return z, y, x


def _from_ome(xml: str) -> Sizes:
    try:
        root = ET.fromstring(xml)
    except ET.ParseError:
        return None, None, None
    pixels = next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None, None, None
    z, y, x = (_ome_length(pixels, axis) for axis in "ZYX")
    return z, y, x


def _ome_length(pixels: ET.Element, axis: str) -> float | None:
    value = pixels.get(f"PhysicalSize{axis}")
    unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")  # the schema's default
    return _length_nm(value, unit)


def _length_nm(value: Any, unit: str) -> float | None:  # noqa: ANN401
    scale = NM_PER_UNIT.get(unit.strip().lower())
    try:
        length = float(value)
    except (TypeError, ValueError):
        return None
    return length * scale if scale and length > 0 else None


def _from_imagej(file: tifffile.TiffFile) -> Sizes:
    metadata = file.imagej_metadata or {}
    unit = str(metadata.get("unit", ""))
    scale = NM_PER_UNIT.get(unit.strip().lower())
    _, y, x = _from_resolution(_first(file), scale)
    return _length_nm(metadata.get("spacing"), unit), y, x


def _first(file: tifffile.TiffFile) -> tifffile.TiffPage:
    return cast("tifffile.TiffPage", file.pages[0])  # only later pages may be mere frames


def _resolution_unit_nm(page: tifffile.TiffPage) -> float | None:
    tag = page.tags.get("ResolutionUnit")
    return 1e7 if tag is not None and tag.value == _CENTIMETER else None


def _from_resolution(page: tifffile.TiffPage, unit_nm: float | None) -> Sizes:
    """Pixel size from pixels per unit; a plain TIFF says nothing of z."""
    if unit_nm is None:
        return None, None, None
    y, x = (_per_unit(page, name) for name in ("YResolution", "XResolution"))
    return None, unit_nm / y if y else None, unit_nm / x if x else None


def _per_unit(page: tifffile.TiffPage, name: str) -> float:
    tag = page.tags.get(name)
    if tag is None:
        return 0.0
    numerator, denominator = tag.value
    return numerator / denominator if denominator else 0.0
