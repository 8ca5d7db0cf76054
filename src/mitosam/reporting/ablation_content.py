"""What a study's page holds, before any of it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # brings SciPy, which the command line answers without
    from mitosam.evaluation.levels import Estimate, Metric


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Prompt:
    """What was asked with: a kind of prompt, and correcting clicks after it."""

    kind: str
    """"patch-box", "object-box", "object-point", or "automatic" and a method."""
    clicks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelScore:
    """One metric of one level under one prompt."""

    prompt: Prompt
    metric: Metric
    mean: Estimate
    difference: Estimate | None
    """Level minus base on the same sections and seeds; None for the base itself."""
    num_seeds: int
    num_sections: int
    count: float
    """Patches or objects a seed was scored on."""
    is_like_the_base: bool = True
    """Whether the base was scored on as many patches or objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level and its scores."""

    factor: str
    label: str
    scores: Sequence[LevelScore]
    num_seeds: int
    """Finished runs."""
    seconds_trained: float | None = None
    """Mean of its runs."""
    peak_memory_bytes: float | None = None
    """Mean of its runs."""
    values: Mapping[str, object] | None = None
    """What it sets, by dotted name."""
    is_base: bool = False
    """Whether it comes to the base's own settings, and shares its runs."""

    def score(self, prompt: Prompt, metric: Metric) -> LevelScore | None:
        """Its score under a prompt."""
        chosen = [one for one in self.scores if (one.prompt, one.metric) == (prompt, metric)]
        return chosen[0] if chosen else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One factor's levels, in their order."""

    name: str
    levels: Sequence[Level]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """Everything that the page shows."""

    title: str
    base: Level
    untuned: Level | None
    """The base's model before any training, where it was scored."""
    blocks: Sequence[Block]
    prompts: Sequence[Prompt]
    """Those that the base was scored under, in the order of the page."""
    seeds: Sequence[int]
    num_finished: int
    num_cells: int
    notes: Sequence[str]
    """Warnings that a reader must see before any number."""
    split: str
    provenance: Sequence[tuple[str, str]]
    files: Sequence[str] = ("results.csv", "summary.csv")

    @property
    def levels(self) -> list[Level]:
        """All levels but the base's own."""
        return [level for block in self.blocks for level in block.levels if not level.is_base]
