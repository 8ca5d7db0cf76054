"""How long ten epochs take: the naive recipe against ours, on the same patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.fresh import Setup
from benchmarks.spread import Spread

EPOCHS, BATCH = 10, 2
ENCODERS = {"vit_b": "ViT-B", "vit_t": "vit_t"}
TARGETS = {"vit_b": 20, "vit_t": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How many processes measure each variant, and what each of them measures."""

    rounds: int
    naive_steps: dict[str, int]
    encodings: int
    our_steps: int


FULL = Effort(rounds=2, naive_steps={"vit_b": 2, "vit_t": 5}, encodings=4, our_steps=20)
QUICK = Effort(rounds=1, naive_steps={"vit_b": 1, "vit_t": 1}, encodings=1, our_steps=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of training with one encoder; nothing is encoded beforehand in the naive one."""

    encoder: str
    way: str
    precision: str
    step_s: Spread
    encode_s: Spread | None
    peak_bytes: int

    def job_s(self, num_patches: int) -> float:
        """Ten epochs from the medians, encoding included."""
        steps = EPOCHS * self.steps_per_epoch(num_patches) * self.step_s.median
        return steps + (num_patches * self.encode_s.median if self.encode_s else 0)

    @staticmethod
    def steps_per_epoch(num_patches: int) -> int:
        """Two patches a step."""
        return -(-num_patches // BATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both ways with one encoder."""

    naive: Way
    ours: Way
    target: float

    def times_faster(self, num_patches: int) -> float:
        """Naive job over our job."""
        return self.naive.job_s(num_patches) / self.ours.job_s(num_patches)


def ask(setup: Setup) -> list[Comparison]:
    """Every variant once a round, in new processes, so that a slow spell hits all alike."""
    effort = QUICK if setup.quick else FULL
    rounds = [_round(setup, effort) for _ in range(effort.rounds)]
    return [
        Comparison(
            naive=_way(encoder, "naive", rounds),
            ours=_way(encoder, "ours", rounds),
            target=TARGETS[encoder],
        )
        for encoder in ENCODERS
    ]


Answers = dict[tuple[str, str], dict[str, Any]]


def _round(setup: Setup, effort: Effort) -> Answers:
    answers: Answers = {}
    for encoder in ENCODERS:
        answers[encoder, "naive"] = setup.fresh(
            "naive",
            encoder=encoder,
            warmup=1,
            steps=effort.naive_steps[encoder],
        )
        answers[encoder, "ours"] = setup.fresh(
            "ours",
            encoder=encoder,
            warmup=2,
            encodings=effort.encodings,
            steps=effort.our_steps,
        )
    return answers


def _way(encoder: str, way: str, rounds: list[Answers]) -> Way:
    answers = [one[encoder, way] for one in rounds]
    encode_s = [s for answer in answers for s in answer.get("encode_s", [])]
    return Way(
        encoder=ENCODERS[encoder],
        way=way,
        precision=str(answers[0].get("precision", "fp32")),
        step_s=Spread.of([s for answer in answers for s in answer["step_s"]]),
        encode_s=Spread.of(encode_s) if encode_s else None,
        peak_bytes=max(answer["peak_bytes"] for answer in answers),
    )
