"""The voxel size of a volume, from its file and from the user, who must not contradict it."""

from __future__ import annotations

import math

from mitosam.errors import SettingsError
from mitosam.io.volume import Volume

VoxelSize = tuple[float, float, float]

_SAME = 1e-3  # relative; TIFF's resolution is a fraction of whole numbers, and texts are rounded


def choose_voxel_size(volume: Volume, given_nm: VoxelSize | None) -> VoxelSize | None:
    """Voxel size z, y, x in nm as the file says, else as given, else None: it is never guessed.

    Of a single section only the size in plane is compared.

    Raises
    ------
    SettingsError
        File and user differ, or the user's size is no size.
    """
    found_nm = volume.voxel_size_nm
    if given_nm is None:
        return found_nm
    if not all(0 < size < math.inf for size in given_nm):
        raise SettingsError(f"a voxel size must be three numbers above 0, got {given_nm}")
    first_axis = 0 if len(volume) > 1 else 1
    if found_nm and not _same(found_nm[first_axis:], given_nm[first_axis:]):
        raise SettingsError(
            f"voxel sizes must agree, but {volume.name} says {readable_voxel_size(found_nm)} and "
            f"--voxel-size says {readable_voxel_size(given_nm)}; leave out --voxel-size, "
            "or correct the file"
        )
    return given_nm


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(math.isclose(a, b, rel_tol=_SAME) for a, b in zip(one, other, strict=True))


def readable_voxel_size(voxel_size_nm: VoxelSize) -> str:
    """A voxel size in words.

    >>> readable_voxel_size((30.0, 8.0, 8.0))
    '30 x 8 x 8 nm (z, y, x)'
    """
    return " x ".join(f"{size:g}" for size in voxel_size_nm) + " nm (z, y, x)"
