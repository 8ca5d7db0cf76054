"""How near encoder and decoder come to the machine's matrix-multiply peak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.fresh import Setup
from benchmarks.spread import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the model at work."""

    title: str
    part: str
    encoder: str = "vit_t"
    prompts: int = 0


PARTS = (
    Part(title="vit_t encoder, 1 image", part="encode"),
    Part(title="ViT-B encoder, 1 image", part="encode", encoder="vit_b"),
    Part(title="decoder forward, 8 prompts", part="decode", prompts=8),
    Part(title="decoder forward + backward, 1 prompt", part="train", prompts=1),
    Part(title="decoder forward + backward, 8 prompts", part="train", prompts=8),
)
PRECISIONS = ("bf16", "fp32")
REPEATS, QUICK_REPEATS = 5, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpeed:
    """What one part reached in one precision."""

    title: str
    precision: str
    gflop: float
    seconds: Spread
    peak_gflop_s: dict[str, float]
    arithmetic_share: float
    other_shares: dict[str, float]

    @property
    def gflop_s(self) -> float:
        """From the least time, as the peak is."""
        return self.gflop / self.seconds.least

    @property
    def peak(self) -> float:
        """The fastest way of multiplying matrices."""
        return max(self.peak_gflop_s.values())

    @property
    def share_of_peak(self) -> float:
        """Achieved over peak."""
        return self.gflop_s / self.peak


def ask(setup: Setup) -> list[PartSpeed]:
    """Every part in every precision, each in a new process."""
    return list(_answers(setup))


def _answers(setup: Setup) -> Iterator[PartSpeed]:
    for part in PARTS:
        for precision in PRECISIONS:
            answer = setup.fresh(
                "kernels",
                part=part.part,
                encoder=part.encoder,
                prompts=part.prompts,
                precision=precision,
                repeats=QUICK_REPEATS if setup.quick else REPEATS,
            )
            yield PartSpeed(
                title=part.title,
                precision=precision,
                gflop=answer["gflop"],
                seconds=Spread.of(answer["seconds"]),
                peak_gflop_s=answer["peak_gflop_s"],
                arithmetic_share=answer["arithmetic_share"],
                other_shares=answer["other_shares"],
            )
