"""The answer on interactive work as a part of the page."""

from __future__ import annotations

from benchmarks.interactive import (
    BATCH_TARGET_S,
    CLICK_TARGET_S,
    DECODER_TARGET_S,
    GROWTH_TARGET_BYTES,
    SECONDS_A_SECTION,
    Interactive,
    Waits,
)
from benchmarks.segment_page import Table


def interactive_part(found: Interactive, table: Table) -> str:
    """Waits against their targets, stepping, and memory."""
    depth, height, width = found.shape_zyx
    growth = found.late_bytes - found.early_bytes
    rows = [
        _row("click to mask", found.click, CLICK_TARGET_S),
        _row("four masks of one prompt", found.decoder, DECODER_TARGET_S),
    ]
    header = ["wait", "median, ms", "95th percentile, ms", "most, ms", "number", "target for 95 %"]
    return f"""## Interactive work

vit_t on sections of {found.subject}, {height} x {width}, that are embedded already:

{table(header, rows)}
- {found.boxes} boxes on one section in one go: **{found.batch_s:.2f} s** (target below
  {BATCH_TARGET_S:g} s: {_reached(found.batch_s < BATCH_TARGET_S)})
- Embedding a section when nothing is known of it takes {found.embed_section_s:.1f} s. Stepping on
  after {SECONDS_A_SECTION:g} s on each section, **{found.steps_that_waited} of {found.steps}**
  next ones were not wholly embedded yet.
- Memory between the first and the last of {found.used_clicks} clicks over {depth} sections, most
  of them accepted, some undone: **{growth / 1e6:+.0f} MB** (target below
  {GROWTH_TARGET_BYTES / 1e6:.0f} MB: {_reached(growth < GROWTH_TARGET_BYTES)})

*Click to mask* is from the session's side: the prompt, four masks, what the page shows of the
state, and the chosen mask as it is sent. The browser's part, and the way to it, come on top.
Memory was measured with made-up embeddings, so that it does not take the encoder's time.
"""


def _row(name: str, waits: Waits, target_s: float) -> list[str]:
    times = (f"{1000 * seconds:.0f}" for seconds in (waits.median, waits.p95, waits.most))
    verdict = f"below {1000 * target_s:.0f} ms: {_reached(waits.p95 < target_s)}"
    return [name, *times, str(waits.count), verdict]


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "missed"
