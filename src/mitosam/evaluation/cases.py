"""Which patches to show: chosen by rule, so that nobody picks the pretty ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mitosam.evaluation.scores import Protocol, Score, pair_scores

Why = Literal["best", "median", "worst", "most crowded", "lost"]
WHYS: tuple[Why, ...] = ("best", "median", "worst", "most crowded", "lost")

_Pair = tuple[Score, Score]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenCase:
    """One subject worth looking at, with both models' scores on it."""

    why: Why
    base: Score
    tuned: Score


def choose_cases(
    scores: Sequence[Score],
    *,
    protocol: Protocol = "patch-box",
    num_each: int = 2,
    num_lost: int = 4,
) -> list[ChosenCase]:
    """The tuned model's best, median and worst IoU, the most crowded patches, and what it lost.

    Lost are those where tuning cost the most IoU, the greatest loss first; there may be none.
    Subjects without true pixels are left out, and no subject is shown under two reasons: where
    there are too few, the earlier reason keeps it, save that a loss is shown as a loss. Under one
    reason each place of the section comes once where it can, for its neighbours in z look alike.
    """
    pairs = pair_scores(scores, protocol, method="tuned", against="base")
    by_iou = sorted((pair for pair in pairs if pair[0].truth_px), key=lambda pair: -pair[1].iou)
    lost = _first_apart(sorted((p for p in by_iou if _gain(p) < 0), key=_gain), num_lost)
    taken, chosen = list(lost), []
    for why, ranked in _rankings([pair for pair in by_iou if pair not in lost]):
        picked = _first_apart([pair for pair in ranked if pair not in taken], num_each)
        taken += picked
        chosen += [ChosenCase(why=why, base=base, tuned=tuned) for base, tuned in picked]
    return chosen + [ChosenCase(why="lost", base=base, tuned=tuned) for base, tuned in lost]


def _rankings(by_iou: list[_Pair]) -> list[tuple[Why, list[_Pair]]]:
    """The pairs, given from the tuned model's best to its worst, once for each reason to show."""
    middle = by_iou[len(by_iou) // 2][1].iou if by_iou else 0.0
    return [
        ("best", by_iou),
        ("worst", by_iou[::-1]),
        ("median", sorted(by_iou, key=lambda pair: abs(pair[1].iou - middle))),
        ("most crowded", sorted(by_iou, key=lambda pair: -pair[0].num_objects)),
    ]


def _first_apart(ranked: list[_Pair], num: int) -> list[_Pair]:
    """The first `num` pairs at different places, filled up with the first of the others."""
    places: set[tuple[str, int, int]] = set()
    fresh: list[_Pair] = []
    for pair in ranked:
        place = (pair[0].volume, pair[0].y, pair[0].x)
        if place not in places:
            fresh.append(pair)
        places.add(place)
    others = [pair for pair in ranked if pair not in fresh]
    chosen = [*fresh, *others][:num]
    return [pair for pair in ranked if pair in chosen]


def _gain(pair: _Pair) -> float:
    return pair[1].iou - pair[0].iou
