"""What the benchmark of scale finds."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.spread import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One way to segment one volume."""

    seconds: Spread
    cpu_s: Spread
    """Processor seconds of all processes together, which others on the machine slow less."""
    stages_s: dict[str, float]
    peak_bytes: int
    """Of the process that held most."""
    num_instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A volume of some size."""

    gigavoxels: float
    run: Run

    @property
    def seconds_per_gigavoxel(self) -> float:
        """Wall time, from the median."""
        return self.run.seconds.median / self.gigavoxels

    @property
    def cpu_s_per_gigavoxel(self) -> float:
        """Processor seconds, from the median."""
        return self.run.cpu_s.median / self.gigavoxels


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """One volume done in several ways."""

    gigavoxels: float
    roomy: Run
    blocks: Run
    one_thread: Run
    two_workers: Run
    bounded_gb: float
    roomy_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All answers."""

    date: str
    command: str
    machine: str
    load: float
    threads: int
    growth: list[Growth]
    sharing: Sharing


def marginal_cpu_s(growth: list[Growth]) -> float:
    """Processor seconds that a further gigavoxel takes: between the smallest and the largest.

    What is done once, as loading the model, is not in it. Of one size alone, all is.
    """
    first, last = growth[0], growth[-1]
    if first is last:
        return first.cpu_s_per_gigavoxel
    more = last.run.cpu_s.median - first.run.cpu_s.median
    return more / (last.gigavoxels - first.gigavoxels)
