"""Predicted and true sections, read in step and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from jaxtyping import Bool, Shaped

from mitosam.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelPair:
    """One section's predicted and true labels, 0 for background."""

    predicted: Shaped[np.ndarray, "height width"]
    truth: Shaped[np.ndarray, "height width"]

    @property
    def foregrounds(self) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
        """Where there is any instance: predicted, then true."""
        return self.predicted != 0, self.truth != 0


def pair_sections(
    predicted: Iterable[Shaped[np.ndarray, "height width"]],
    truth: Iterable[Shaped[np.ndarray, "height width"]],
) -> Iterator[LabelPair]:
    """Section by section, one of each at a time; arrays of z, y, x are iterables of sections.

    Raises
    ------
    InputError
        One has more sections than the other, there are none, two differ in shape, or one does not
        hold whole numbers.
    """
    z = -1
    for z, (one, other) in enumerate(zip_longest(predicted, truth)):
        if one is None or other is None:
            shorter = "prediction" if one is None else "truth"
            raise InputError(
                f"prediction and truth must have equally many sections, the {shorter} ends after "
                f"{z}; give the same sections of both"
            )
        if one.shape != other.shape or one.ndim != 2:
            raise InputError(
                "predicted and true sections must be 2D and of one shape, "
                f"got {one.shape} and {other.shape} in section {z + 1}"
            )
        check_dtype(one)
        check_dtype(other)
        yield LabelPair(predicted=one, truth=other)
    if z < 0:
        raise InputError("there are no sections to score; give at least one")


def check_dtype(labels: Shaped[np.ndarray, "*shape"]) -> None:
    """Raise an InputError unless labels are whole numbers or truth values."""
    if labels.dtype.kind not in "biu":
        raise InputError(
            f"labels must be whole numbers, got {labels.dtype}; give an id for each instance"
        )
