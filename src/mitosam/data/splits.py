"""Which sections train, which choose the best step, and which are only reported on.

Neighbouring sections are near copies of each other, so an honest split keeps them on one side.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mitosam.errors import SettingsError

logger = logging.getLogger(__name__)


class SplitSettings(BaseModel):
    """How a volume's sections are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["slabs", "random", "given"] = "slabs"
    """"slabs" cuts the stack into training, validation and test slabs; "given" takes the ranges
    below; "random" draws sections, which leaks, and the report says so."""
    train: str = ""
    """Sections to train on when kind is "given", counted from 1: "1-104" or "1-20,40"."""
    validation: str = ""
    """Sections that choose the best step when kind is "given"; may stay empty."""
    test: str = ""
    """Sections to report on when kind is "given"; without any a run only trains."""
    gap: int = Field(4, ge=0)
    """Sections left out between slabs; short stacks get a smaller gap."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the sections that choose the best step, for "slabs" and "random"."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the sections that are reported on, for "slabs" and "random"."""

    @model_validator(mode="after")
    def _check(self) -> SplitSettings:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction must leave some to train on")
        if self.kind == "given" and not self.train:
            raise ValueError('kind = "given" needs the sections of train')
        if self.kind != "given" and (self.train or self.validation or self.test):
            raise ValueError(f'train, validation and test need kind = "given", got "{self.kind}"')
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Sections counted from 0; `leaky` says that test sections neighbour the others."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    unused: tuple[int, ...]
    leaky: bool
    note: str = ""


def split_sections(num_sections: int, settings: SplitSettings, seed: int) -> Split:
    """The split of a stack of `num_sections` sections; `seed` counts for "random" only.

    Raises
    ------
    SettingsError
        There are fewer than 3 sections (then see `split_halves`), or the ranges do not fit.
    """
    if settings.kind == "given":
        return _given(num_sections, settings)
    if num_sections < 3:
        raise SettingsError(
            f"a split into sections needs 3 or more, got {num_sections}; use split_halves, which "
            "trains on the left and reports on the right of the sections"
        )
    if settings.kind == "random":
        return _random(num_sections, settings, seed)
    return _slabs(num_sections, settings)


def _slabs(num_sections: int, settings: SplitSettings) -> Split:
    gap = _shrunk_gap(num_sections, settings.gap)
    num_train, num_validation, num_test = _sizes(num_sections - 2 * gap, settings)
    validation_start = num_train + gap
    test_start = num_sections - num_test
    note = ""
    if gap < settings.gap:
        note = f"the gap is {gap} instead of {settings.gap} sections, as there are {num_sections}"
    return _split(
        num_sections,
        range(num_train),
        range(validation_start, validation_start + num_validation),
        range(test_start, num_sections),
        note=note,
    )


def _shrunk_gap(num_sections: int, gap: int) -> int:
    """At most a tenth of a short stack, yet 1 wherever 6 sections or more allow it."""
    return min(gap, max(1, num_sections // 10)) if num_sections >= 6 else 0


def _sizes(num_usable: int, settings: SplitSettings) -> tuple[int, int, int]:
    """How many sections train, validate and test: each at least one, all together `num_usable`."""
    num_test = min(max(1, round(num_usable * settings.test_fraction)), num_usable - 2)
    num_validation = max(1, round(num_usable * settings.validation_fraction))
    num_validation = min(num_validation, num_usable - num_test - 1)
    return num_usable - num_test - num_validation, num_validation, num_test


def _random(num_sections: int, settings: SplitSettings, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(num_sections).tolist()
    num_train, num_validation, _ = _sizes(num_sections, settings)
    end = num_train + num_validation
    return _split(
        num_sections, order[:num_train], order[num_train:end], order[end:], always_leaky=True
    )


def _given(num_sections: int, settings: SplitSettings) -> Split:
    train, validation, test = (
        parse_sections(text, num_sections, name)
        for name, text in (
            ("train", settings.train), ("validation", settings.validation), ("test", settings.test)
        )
    )  # fmt: skip
    for (name, first), (other, second) in (
        (("train", train), ("validation", validation)),
        (("train", train), ("test", test)),
        (("validation", validation), ("test", test)),
    ):
        shared = sorted(set(first) & set(second))
        if shared:
            raise SettingsError(
                f"{name} and {other} must not share sections, both have section {shared[0] + 1}"
            )
    return _split(num_sections, train, validation, test)


def parse_sections(text: str, num_sections: int, name: str = "sections") -> tuple[int, ...]:
    """Sections counted from 0, out of ranges counted from 1 that include their ends.

    >>> parse_sections("1-3, 6", 10)
    (0, 1, 2, 5)
    """
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        try:
            start, stop = int(first), int(last if dash else first)
        except ValueError:
            raise SettingsError(
                f'{name} must look like "1-104" or "1-20,40", got "{text}"'
            ) from None
        if not 1 <= start <= stop <= num_sections:
            raise SettingsError(
                f"{name} must lie in 1-{num_sections}, the first end before the last, got {part}"
            )
        found.update(range(start - 1, stop))
    return tuple(sorted(found))


def describe_sections(sections: range) -> str:
    """Consecutive sections in words, counted from 1.

    >>> describe_sections(range(104, 108)), describe_sections(range(2, 3))
    ('sections 105 to 108', 'section 3')
    """
    if len(sections) == 1:
        return f"section {sections.start + 1}"
    return f"sections {sections.start + 1} to {sections.stop}"


def _split(
    num_sections: int,
    train: Iterable[int],
    validation: Iterable[int],
    test: Iterable[int],
    *,
    always_leaky: bool = False,
    note: str = "",
) -> Split:
    train, validation, test = (tuple(sorted(part)) for part in (train, validation, test))
    used = {*train, *validation, *test}
    seen = {*train, *validation}
    leaky = always_leaky or any(z - 1 in seen or z + 1 in seen for z in test)
    if leaky:
        note = "; ".join(filter(None, [note, "test sections neighbour training sections"]))
    if note:
        logger.warning("split: %s", note)
    return Split(
        train=train,
        validation=validation,
        test=test,
        unused=tuple(z for z in range(num_sections) if z not in used),
        leaky=leaky,
        note=note,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """Pixel columns, first and one past the last, of the part to train on and to report on."""

    left: tuple[int, int]
    right: tuple[int, int]


def split_halves(
    width: int, *, left_fraction: float = 0.7, gap_px: int = 64, min_px: int = 32
) -> Halves:
    """Left and right parts of one or two sections, with columns left out between them.

    The gap, as wide as a large mitochondrion, is narrowed to a tenth of a narrow section.
    """
    gap = min(gap_px, width // 10)
    left_stop = round((width - gap) * left_fraction)
    if min(left_stop, width - gap - left_stop) < min_px:
        raise SettingsError(
            f"a section {width} px wide is too narrow to train on its left and report on its "
            "right; annotate more sections"
        )
    return Halves(left=(0, left_stop), right=(left_stop + gap, width))
