"""What the sections of a volume are for, where it is not the only one of its run."""

from __future__ import annotations

from mitosam.config import RunSettings
from mitosam.data.splits import Split


def train_and_validate(num_sections: int, settings: RunSettings) -> Split:
    """All sections but a last slab, which chooses the best step; too few give none to it."""
    num_validation = round(num_sections * settings.split.validation_fraction)
    gap = min(settings.split.gap, max(1, num_sections // 10)) if num_validation else 0
    num_train = num_sections - num_validation - gap
    return Split(
        train=tuple(range(num_train)),
        validation=tuple(range(num_sections - num_validation, num_sections)),
        test=(),
        unused=tuple(range(num_train, num_train + gap)),
        leaky=False,
    )


def only_test(num_sections: int) -> Split:
    """All sections to report on."""
    return Split(train=(), validation=(), test=tuple(range(num_sections)), unused=(), leaky=False)
