"""The answers as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import startup
from benchmarks.abuse import Abuse
from benchmarks.abuse_page import abuse_part
from benchmarks.arithmetic import PartSpeed
from benchmarks.interactive import Interactive
from benchmarks.interactive_page import interactive_part
from benchmarks.job import BATCH, EPOCHS, Comparison, Way
from benchmarks.memory import EARLY_STEPS, Memory
from benchmarks.segment import SegmentAnswer
from benchmarks.segment_page import segment_part
from benchmarks.spread import Spread

ACCOUNT = Path(__file__).with_name("account.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was asked for; None was not."""

    date: str
    command: str
    machine: str
    load: float
    subject: str
    num_patches: int
    job: list[Comparison] | None = None
    arithmetic: list[PartSpeed] | None = None
    memory: list[Memory] | None = None
    segment: SegmentAnswer | None = None
    interactive: Interactive | None = None
    startup: dict[str, Spread] | None = None
    abuse: Abuse | None = None


def to_markdown(found: Findings) -> str:
    """The whole page."""
    parts = [_opening(found)]
    if found.job:
        parts.append(_job(found.job, found.num_patches))
    if found.arithmetic:
        parts += [_arithmetic(found.arithmetic), ACCOUNT.read_text("utf-8")]
    if found.memory:
        parts.append(_memory(found.memory))
    if found.segment:
        parts.append(segment_part(found.segment, table))
    if found.interactive:
        parts.append(interactive_part(found.interactive, table))
    if found.startup:
        parts.append(_startup(found.startup))
    if found.abuse:
        parts.append(abuse_part(found.abuse, table))
    return "\n".join(parts)


def _opening(found: Findings) -> str:
    return f"""# Speed and memory

<!-- Written by `make bench`; the prose of the account stands in benchmarks/account.md. -->

{found.date}, `{found.command}`. {found.machine}.
Load of the machine before the run: {found.load:.1f}. Patches: {found.subject}.
Every measurement ran in a process of its own, one after the other;
times are min / median / max in seconds.
"""


def _job(comparisons: list[Comparison], num_patches: int) -> str:
    rows = [_job_row(way, num_patches) for one in comparisons for way in (one.naive, one.ours)]
    header = [
        "encoder", "way", "precision", "encode a patch, s", "step, s",
        "epoch, h", f"{EPOCHS} epochs, h", "peak memory, GB",
    ]  # fmt: skip
    verdicts = "\n".join(_verdict(one, num_patches) for one in comparisons)
    return f"""## {EPOCHS} epochs on {num_patches} patches

{table(header, rows)}
{verdicts}

Both train the mask decoder on the same 256 px patches with the paper preset: one jittered box
round all mitochondria, {BATCH} patches a step, Dice + cross entropy, Adam. *Naive* is the popular
recipe: transformers' model as it comes, fp32, the frozen encoder run at every step. Two things
flatter it: the images go through our faster resizing, and for vit_t, which transformers does not
have, through our faster encoder. *Ours* is what `mitosam train` does: each patch is encoded once
and kept on disk, bf16 where the processor has it, freed memory kept by the allocator. **Epochs are
extrapolated** from the medians of single steps and encodings; encoding each patch once is in our
{EPOCHS} epochs, not in our single epoch. Loading the model and validation are left out of both.
ViT-B has random weights: speed does not depend on their values.
"""


def _job_row(way: Way, num_patches: int) -> list[str]:
    epoch_s = way.steps_per_epoch(num_patches) * way.step_s.median
    return [
        way.encoder,
        way.way,
        way.precision,
        str(way.encode_s or "in each step"),
        str(way.step_s),
        f"{epoch_s / 3600:.2f}",
        f"{way.job_s(num_patches) / 3600:.2f}",
        f"{way.peak_bytes / 1e9:.1f}",
    ]


def _verdict(one: Comparison, num_patches: int) -> str:
    times = one.times_faster(num_patches)
    verdict = "reached" if times >= one.target else "missed"
    return f"- {one.ours.encoder}: **{times:.0f} times faster** (target {one.target:g}: {verdict})"


def _arithmetic(speeds: list[PartSpeed]) -> str:
    peaks: dict[str, float] = {}
    for speed in speeds:
        for name, peak in speed.peak_gflop_s.items():
            label = f"{speed.precision} {name}"
            peaks[label] = max(peak, peaks.get(label, 0))
    peak_rows = [[label, f"{peak:.0f}"] for label, peak in peaks.items()]
    speed_header = [
        "part", "precision", "GFLOP", "time, s", "GFLOP/s", "share of peak",
        "time in products", "GFLOP/s in them",
    ]  # fmt: skip
    other_rows = [[speed.title, speed.precision, _shares(speed.other_shares)] for speed in speeds]
    return f"""## Encoder and decoder against the machine's peak

Matrix products of 3072 x 3072, the fastest of each process's repetitions, best of all processes:

{table(["product", "GFLOP/s"], peak_rows)}
FLOP are those of matrix products, convolutions and attention (torch's counter). A part's share is
its least time against the fastest product in its own process, measured in turn with it. *Time in
products* is the share of the profiler's operator time in those operators.

{table(speed_header, [_speed_row(speed) for speed in speeds])}
What the rest of the time goes to, in shares of all:

{table(["part", "precision", "operators besides products"], other_rows)}"""


def _speed_row(speed: PartSpeed) -> list[str]:
    return [
        speed.title,
        speed.precision,
        f"{speed.gflop:.1f}",
        str(speed.seconds),
        f"{speed.gflop_s:.0f}",
        f"{speed.share_of_peak:.0%}",
        f"{speed.arithmetic_share:.0%}",
        f"{speed.gflop_s / max(speed.arithmetic_share, 1e-9):.0f}",
    ]


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005)


def _memory(sizes: list[Memory]) -> str:
    header = [
        "patches", "embeddings on disk, GB", "steps",
        "peak once encoded, GB", f"peak after {EARLY_STEPS} steps, GB", "peak at the end, GB",
    ]  # fmt: skip
    rows = [
        [
            str(one.num_patches),
            f"{one.cache_bytes / 1e9:.2f}",
            str(one.num_steps),
            *(f"{b / 1e9:.2f}" for b in (one.filled_bytes, one.early_bytes, one.peak_bytes)),
        ]
        for one in sizes
    ]
    return f"""## Memory against the number of patches

One epoch of the paper preset with vit_t. The embeddings are random numbers, written and read by
the cache as real ones are; the patches are the same sections over and over, moved by a pixel.

{table(header, rows)}"""


def _startup(times: dict[str, Spread]) -> str:
    rows = [
        [name, str(spread), f"below {startup.LIMIT_S[name]}" if name in startup.LIMIT_S else ""]
        for name, spread in times.items()
    ]
    return f"""## Starting

{table(["process", "time, s", "target"], rows)}"""


def table(header: Sequence[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
