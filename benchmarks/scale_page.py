"""The answers on scale as a page of Markdown."""

from __future__ import annotations

from benchmarks.page import table
from benchmarks.scale_runs import Found, Growth, Run, Sharing, marginal_cpu_s
from benchmarks.scale_subject import (
    CELL_PX,
    NUM_SECTIONS,
    TISSUE_ZYX,
)

PRICE_PER_CORE_HOUR = 0.04
"""US dollars, for an example; put your own."""


def to_markdown(found: Found) -> str:
    """The whole page."""
    return "\n".join([_opening(found), _growth(found.growth), _sharing(found)])


def _opening(found: Found) -> str:
    depth, height, width = TISSUE_ZYX
    times = NUM_SECTIONS * CELL_PX**2 / (depth * height * width)
    return f"""# Scale

<!-- Written by `python -m benchmarks.scale`. -->

{found.date}, `{found.command}`. {found.machine}.
Load of the machine before the run: {found.load:.1f}. Every measurement ran in a process of its own,
one after the other; several times of one thing are min / median / max, in seconds.

Volumes are OME-Zarr of {NUM_SECTIONS} sections in cells of {CELL_PX} x {CELL_PX} px. Each cell
holds made-up tissue, {depth} x {height} x {width} voxels of it in slices, and nothing else.
Tissue is 1/{times:.0f} of the volume. What is empty is neither on the disk nor encoded, so these
figures compare volumes and ways with each other; what dense tissue costs is in [speed](speed.md).
Each volume is segmented by `mitosam segment --model vit_t --method head`, from the images to
labels, tables, previews and report.
"""


def _growth(growth: list[Growth]) -> str:
    names = list(growth[0].run.stages_s)
    header = [
        "gigavoxels", "seconds", "seconds a gigavoxel", "processor s a gigavoxel", "instances",
        "peak memory, GB",
    ]  # fmt: skip
    rows = [
        [
            f"{one.gigavoxels:.2f}",
            str(one.run.seconds),
            f"{one.seconds_per_gigavoxel:.0f}",
            f"{one.cpu_s_per_gigavoxel:.0f}",
            str(one.run.num_instances),
            f"{one.run.peak_bytes / 1e9:.2f}",
        ]
        for one in growth
    ]
    stages = [
        [name, *(f"{one.run.stages_s.get(name, 0) / one.gigavoxels:.0f}" for one in growth)]
        for name in names
    ]
    more = marginal_cpu_s(growth)
    return f"""## With the volume's size

One process:

{table(header, rows)}
Seconds a gigavoxel of each stage:

{table(["stage", *(f"{one.gigavoxels:.2f}" for one in growth)], stages)}
A further gigavoxel takes **{more:.0f} processor seconds**, which at {PRICE_PER_CORE_HOUR:g} USD a
core-hour (an example) are **{_dollars(more)} USD**.
"""


def _dollars(cpu_s: float) -> str:
    return f"{cpu_s / 3600 * PRICE_PER_CORE_HOUR:.2g}"


def _sharing(found: Found) -> str:
    sharing = found.sharing
    ways = {
        f"one process, {found.threads} threads, `--memory {sharing.roomy_gb:g}`": sharing.roomy,
        f"one process, {found.threads} threads, `--memory {sharing.bounded_gb:g}`": sharing.blocks,
        f"one process, 1 thread, `--memory {sharing.bounded_gb:g}`": sharing.one_thread,
        f"2 workers, `--memory {sharing.bounded_gb:g}` each": sharing.two_workers,
    }
    header = ["way", "seconds", "processor s", "megavoxels a second", "peak memory of one, GB"]
    rows = [[name, *_row(run, sharing.gigavoxels)] for name, run in ways.items()]
    return f"""## Blocks and workers

{sharing.gigavoxels:.2f} gigavoxels in several ways, which find the same
{sharing.blocks.num_instances} instances:

{table(header, rows)}
{_verdicts(sharing)}
"""


def _row(run: Run, gigavoxels: float) -> list[str]:
    return [
        str(run.seconds),
        str(run.cpu_s),
        f"{1000 * gigavoxels / run.seconds.median:.2f}",
        f"{run.peak_bytes / 1e9:.2f}",
    ]


def _verdicts(sharing: Sharing) -> str:
    smaller = sharing.blocks.cpu_s.median / sharing.roomy.cpu_s.median
    faster = sharing.one_thread.seconds.median / sharing.two_workers.seconds.median
    against = sharing.blocks.seconds.median / sharing.two_workers.seconds.median
    return f"""- Smaller blocks took **{smaller:.2f} times the processor time** of the largest.
- Two workers of one thread each were **{faster:.2f} times as fast as one**, starting them and
  loading the model twice included, and {against:.2f} times as fast as one process with all
  threads."""
