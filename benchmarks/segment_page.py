"""The answer on segmenting as a part of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from benchmarks.segment import ENCODER_TARGET, GRID_TARGET, OURS, SegmentAnswer, Segmented

ENCODING = "encoding tiles"
Table = Callable[[Sequence[str], list[list[str]]], str]


def segment_part(found: SegmentAnswer, table: Table) -> str:
    """Speed of all ways, the stages of each, what became of the targets, and memory."""
    height, width = found.shape_yx
    num_sections = found.ways[0].num_sections
    header = [
        "way", "seconds a section", "sections a minute", "ns a voxel", "instances",
        "peak memory, GB",
    ]  # fmt: skip
    return f"""## Segmenting without prompts

{num_sections} sections of {found.subject}, {height} x {width}, all on the same ones:

{table(header, [*(_row(one, found) for one in found.ways), _grid_row(found)])}
{_verdicts(found)}

*head* and *prompted* are `mitosam segment` as it is, from the images to labels, tables, previews
and report, loading the model included; *U-Net* is the same command with the rival's network. The
tiles' encoder is vit_t, and the mask decoder is its own. The networks have **random weights**, and
all their arithmetic is done; what is handed on in the place of their noise are the **true masks,
blurred**, so that there are as many instances to connect and to measure as in tissue.

*Point grid* is **extrapolated** from single tiles, {found.grid.tiles_per_section} a section, of
which {found.grid.tile_s.count} were timed, evenly from all sections: {found.grid.tile_s} s a tile,
its encoding and 32 x 32 points with three masks each included. What comes after the tiles
(duplicates on the section, instances through the stack, measuring, writing) is left out, which
flatters it.

Seconds of each stage for all {num_sections} sections, and their share:

{table(["stage", *(one.way for one in found.ways)], _stage_rows(found))}
### Memory against the number of sections

By the head, each number in a process of its own:

{table(["sections", "peak memory, GB"], _memory_rows(found))}"""


def _row(one: Segmented, found: SegmentAnswer) -> list[str]:
    return [
        one.way,
        *_speeds(one.section_s, found.shape_yx),
        str(one.num_instances),
        f"{one.peak_bytes / 1e9:.2f}",
    ]


def _grid_row(found: SegmentAnswer) -> list[str]:
    speeds = _speeds(found.grid.section_s, found.shape_yx)
    return ["point grid, extrapolated", *speeds, "", f"{found.grid.peak_bytes / 1e9:.2f}"]


def _speeds(section_s: float, shape_yx: tuple[int, int]) -> list[str]:
    nanoseconds = 1e9 * section_s / math.prod(shape_yx)
    return [f"{section_s:.3g}", f"{60 / section_s:.3g}", f"{nanoseconds:.0f}"]


def _verdicts(found: SegmentAnswer) -> str:
    lines = []
    for one in (one for one in found.ways if one.way in OURS):
        to_encoder, to_grid = one.times(ENCODING), one.section_s / found.grid.section_s
        lines += [
            f"- {one.way}: **{to_encoder:.2f} times its own encoding** "
            f"(target at most {ENCODER_TARGET:g}: {_verdict(to_encoder, ENCODER_TARGET)})",
            f"- {one.way}: **1/{1 / to_grid:.0f} of the point grid's time** "
            f"(target at most 1/{1 / GRID_TARGET:.0f}: {_verdict(to_grid, GRID_TARGET)})",
        ]
    return "\n".join(lines)


def _verdict(value: float, most: float) -> str:
    return "reached" if value <= most else "missed"


def _stage_rows(found: SegmentAnswer) -> list[list[str]]:
    names = dict.fromkeys(name for one in found.ways for name in one.stages_s)
    ordered = sorted(names, key=lambda name: -found.ways[0].stages_s.get(name, 0.0))
    return [[name, *(_share(one, name) for one in found.ways)] for name in ordered]


def _share(one: Segmented, stage: str) -> str:
    if stage not in one.stages_s:
        return ""
    seconds = one.stages_s[stage]
    return f"{seconds:.2f} ({seconds / sum(one.stages_s.values()):.0%})"


def _memory_rows(found: SegmentAnswer) -> list[list[str]]:
    return [[str(one.num_sections), f"{one.peak_bytes / 1e9:.2f}"] for one in found.memory]
