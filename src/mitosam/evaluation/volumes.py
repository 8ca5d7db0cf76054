"""Scores volume by volume: a mean over all patches hides a small volume behind a large one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mitosam.evaluation.bootstrap import Interval, bootstrap_mean
from mitosam.evaluation.scores import METHODS, PROTOCOLS, Method, Protocol, Score, overlap_of

MEAN_OF_VOLUMES = ""
"""The `volume` of the row in which each volume counts once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRow:
    """One method under one protocol on one volume, or the mean of its means on all of them."""

    protocol: Protocol
    method: Method
    volume: str
    """Its name; `MEAN_OF_VOLUMES` for the mean of the rows of all volumes."""
    count: int
    """Patches or objects; of the mean, volumes."""
    dice: float
    iou: float
    iou_interval: Interval
    """Of the mean IoU of a volume. NaN for the mean of volumes: a few volumes tell of no others."""

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean of volumes."""
        return self.volume == MEAN_OF_VOLUMES


def summarise_volumes(scores: Sequence[Score], seed: int) -> list[VolumeRow]:
    """A row for each volume, then the mean of volumes, by protocol and method.

    Nothing where only one volume was scored. The mean of volumes is the mean of their means, each
    counted once however many patches it has.
    """
    names = list(dict.fromkeys(score.volume for score in scores))
    if len(names) < 2:
        return []
    rows: list[VolumeRow] = []
    for protocol in PROTOCOLS:
        for method in METHODS:
            own = [s for s in scores if (s.protocol, s.method) == (protocol, method)]
            found = [[score for score in own if score.volume == name] for name in names]
            each = [_row(protocol, method, members, seed) for members in found if members]
            if each:
                rows += [*each, _mean_of(each)]
    return rows


def _row(protocol: Protocol, method: Method, scores: Sequence[Score], seed: int) -> VolumeRow:
    overlap = overlap_of(scores)
    sections = [(score.volume, score.section) for score in scores]
    return VolumeRow(
        protocol=protocol,
        method=method,
        volume=scores[0].volume,
        count=len(scores),
        dice=float(overlap.dice.mean()),
        iou=float(overlap.iou.mean()),
        iou_interval=bootstrap_mean(overlap.iou, sections, seed=seed),
    )


def _mean_of(rows: Sequence[VolumeRow]) -> VolumeRow:
    return VolumeRow(
        protocol=rows[0].protocol,
        method=rows[0].method,
        volume=MEAN_OF_VOLUMES,
        count=len(rows),
        dice=math.fsum(row.dice for row in rows) / len(rows),
        iou=math.fsum(row.iou for row in rows) / len(rows),
        iou_interval=Interval(low=math.nan, high=math.nan, resampled="sections"),
    )
