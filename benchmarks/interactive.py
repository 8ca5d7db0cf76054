"""How long a user waits in an interactive session, and whether it grows with use."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.fresh import Setup

NUM_SECTIONS, QUICK_SECTIONS = 165, 4
CLICKS, QUICK_CLICKS = 200, 20
USED_CLICKS, QUICK_USED_CLICKS = 500, 40
SECONDS_A_SECTION = 3.0
CLICK_TARGET_S, DECODER_TARGET_S, BATCH_TARGET_S = 0.150, 0.060, 1.0
GROWTH_TARGET_BYTES = 200e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds, of which 95 % are no longer than `p95`."""

    median: float
    p95: float
    most: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactive:
    """Waits on embedded sections, on stepping through a stack, and memory over a long session."""

    subject: str
    shape_zyx: tuple[int, int, int]
    click: Waits
    decoder: Waits
    batch_s: float
    boxes: int
    embed_section_s: float
    steps: int
    steps_that_waited: int
    used_clicks: int
    early_bytes: int
    late_bytes: int


def ask(setup: Setup) -> Interactive:
    """Waits with the real encoder; memory in another process, with made-up embeddings."""
    quick = setup.quick
    shared = {"images": setup.images, "masks": setup.masks}
    waits = setup.fresh(
        "interactive_waits",
        **shared,
        num_sections=QUICK_SECTIONS if quick else 12,
        clicks=QUICK_CLICKS if quick else CLICKS,
        seconds_a_section=SECONDS_A_SECTION,
    )
    memory = setup.fresh(
        "interactive_memory",
        **shared,
        num_sections=QUICK_SECTIONS if quick else NUM_SECTIONS,
        clicks=QUICK_USED_CLICKS if quick else USED_CLICKS,
    )
    return Interactive(
        subject=waits["subject"],
        shape_zyx=tuple(memory["shape_zyx"]),
        click=Waits(**waits["click"]),
        decoder=Waits(**waits["decoder"]),
        batch_s=waits["batch_s"],
        boxes=waits["boxes"],
        embed_section_s=waits["embed_section_s"],
        steps=waits["steps"],
        steps_that_waited=waits["steps_that_waited"],
        used_clicks=memory["clicks"],
        early_bytes=memory["early_bytes"],
        late_bytes=memory["late_bytes"],
    )
