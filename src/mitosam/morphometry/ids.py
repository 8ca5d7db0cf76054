"""The ids of one section, numbered closely so that they can index arrays."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Shaped

from mitosam.errors import InputError
from mitosam.io.volume import Volume


def rank_ids(
    labels: Volume, z: int
) -> tuple[Int[np.ndarray, " ids"], Int[np.ndarray, "height width"]]:
    """The ids of section `z` in ascending order, and its pixels numbered by them from 1.

    Raises
    ------
    InputError
        The labels are not whole numbers, or negative.
    """
    section = _whole(labels, z)
    inside = section != 0
    ids, ranks = np.unique(section[inside], return_inverse=True)
    if ids.size and ids[0] < 0:
        raise InputError(
            f"{labels.name}, {labels.section_names[z]} holds the id {ids[0]}; "
            "ids must lie in 1 to 2^63 - 1, with 0 for background"
        )
    ranked = np.zeros(section.shape, np.int32)
    ranked[inside] = ranks + 1
    return ids, ranked


def _whole(labels: Volume, z: int) -> Int[np.ndarray, "height width"]:
    section: Shaped[np.ndarray, "height width"] = labels.section(z)
    if section.dtype.kind == "f" and not np.array_equal(section, np.rint(section)):
        raise InputError(
            f"labels must be whole numbers, but {labels.name}, {labels.section_names[z]} holds "
            "others; give a label volume, with 0 for background and an id for each instance"
        )
    return section.astype(np.int64)
