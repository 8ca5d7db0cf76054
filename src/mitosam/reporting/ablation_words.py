"""What a study says, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mitosam.reporting.ablation_content import Ablation, Block, Level, LevelScore, Prompt
from mitosam.reporting.words import MISSING, PROTOCOL_TITLES, number, plural, signed

if TYPE_CHECKING:
    from mitosam.evaluation.levels import Estimate, Metric

Outcome = Literal["better", "worse", "unclear", "base"]
METRIC_TITLES: dict[Metric, str] = {"dice": "Dice", "iou": "IoU", "msa": "mSA"}
_MAIN = Prompt(kind="object-box")


def prompt_title(prompt: Prompt) -> str:
    """A prompt as headings call it.

    >>> prompt_title(Prompt(kind="object-box", clicks=7))
    'One box per mitochondrion, then 7 clicks'
    """
    known = {str(protocol): title for protocol, title in PROTOCOL_TITLES.items()}
    kind = prompt.kind.removeprefix("automatic ")
    title = known.get(
        prompt.kind,
        f"No prompt, by the method \N{LEFT DOUBLE QUOTATION MARK}{kind}"
        "\N{RIGHT DOUBLE QUOTATION MARK}",
    )
    return f"{title}, then {plural(prompt.clicks, 'click')}" if prompt.clicks else title


def metrics_of(prompt: Prompt) -> tuple[Metric, Metric]:
    """The two scores that are drawn for a prompt; a patch's mask is no instance."""
    return ("dice", "iou") if prompt.kind == "patch-box" else ("iou", "msa")


def main_prompt(content: Ablation) -> Prompt:
    """What the first sentences are about: one box per mitochondrion, where it was scored."""
    return _MAIN if _MAIN in content.prompts else content.prompts[0]


def outcome_of(level: Level, score: LevelScore) -> Outcome:
    """What the interval of the difference allows to say."""
    if level.is_base or score.difference is None:
        return "base"
    if not score.difference.is_clear:
        return "unclear"
    return "better" if score.difference.mean > 0 else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far apart the levels of one factor lie, the base among them."""

    name: str
    lowest: str
    low: float
    highest: str
    high: float
    num_clear: int
    """Levels that clearly differ from the base."""

    @property
    def width(self) -> float:
        """Highest minus lowest mean."""
        return self.high - self.low


def reaches(content: Ablation) -> list[Reach]:
    """One for each factor with finished levels, the widest first, in IoU under the main prompt."""
    prompt = main_prompt(content)
    found = [_reach(block, content.base, prompt) for block in content.blocks]
    return sorted((one for one in found if one), key=lambda one: -one.width)


def _reach(block: Block, base: Level, prompt: Prompt) -> Reach | None:
    own = [(level.label, level, level.score(prompt, "iou")) for level in block.levels]
    scored = [(label, level, score) for label, level, score in own if score]
    base_score = base.score(prompt, "iou")
    if not scored or base_score is None:
        return None
    means = [(score.mean.mean, label) for label, _, score in scored]
    if not any(level.is_base for level in block.levels):
        means.append((base_score.mean.mean, "base"))
    low, high = min(means), max(means)
    outcomes = [outcome_of(level, score) for _, level, score in scored]
    return Reach(
        name=block.name,
        lowest=low[1],
        low=low[0],
        highest=high[1],
        high=high[0],
        num_clear=sum(outcome in ("better", "worse") for outcome in outcomes),
    )


def headline(content: Ablation) -> str:
    """The best level that is clearly better than the base, or that there is none."""
    prompt = main_prompt(content)
    pairs = [(level, level.score(prompt, "iou")) for level in content.levels]
    better = [
        (score.difference.mean, level)
        for level, score in pairs
        if score and score.difference and outcome_of(level, score) == "better"
    ]
    if not better:
        return "No level was clearly better than the base"
    gain, level = max(better, key=lambda one: one[0])
    return f"{_capital(level.factor)}: {level.label} gained most, {signed(gain)} IoU"


def lead(content: Ablation) -> str:
    """What was compared, and how many levels clearly differ."""
    prompt = main_prompt(content)
    score = content.base.score(prompt, "iou")
    assert score is not None
    counts: dict[Outcome, int] = {"better": 0, "worse": 0, "unclear": 0, "base": 0}
    for level in content.levels:
        own = level.score(prompt, "iou")
        if own:
            counts[outcome_of(level, own)] += 1
    return (
        f"With {_lower(prompt_title(prompt))}, the base reaches a mean IoU of "
        f"{number(score.mean.mean)} on {plural(score.num_sections, 'section')} that no run was "
        f"trained on. Of {plural(sum(counts.values()), 'level')} beside it, {counts['better']} "
        f"did clearly better and {counts['worse']} clearly worse."
    )


def interval_words(estimate: Estimate) -> str:
    """Both ends with their signs, or a dash.

    >>> from mitosam.evaluation.levels import Estimate
    >>> interval_words(Estimate(mean=0.1, low=-0.1, high=0.3, resampled="sections"))
    '\N{MINUS SIGN}0.100 to +0.300'
    """
    if math.isnan(estimate.low):
        return MISSING
    return f"{signed(estimate.low)} to {signed(estimate.high)}"


def chance_words(num_levels: int) -> str:
    """How many levels would differ by chance alone."""
    return (
        f"With {plural(num_levels, 'level')} beside the base, even if none of them mattered, about "
        "1 in 20 intervals would leave out zero: a single clear one among many is a hint."
    )


def settings_rows(levels: Sequence[Level]) -> list[tuple[str, str, str]]:
    """Factor, level, and what it sets."""
    return [
        (
            level.factor,
            level.label,
            ", ".join(f"{n} = {v}" for n, v in (level.values or {}).items()),
        )
        for level in levels
    ]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
