"""The page of docs/results on segmentation without prompts, written from records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mitosam.reporting.words import number

FILE = "automatic.md"
TITLE = "Without prompts: every mitochondrion of unseen sections"
TEXT = """\
No prompt is given here, so these scores never stand beside those of the other pages. *head* is
the prompt-free head; *prompted* asks the tuned mask decoder to outline what it found; *U-Net* is a
plain 2D U-Net of MONAI (16 to 256 channels, batch normalisation), trained in the same run for as
many steps on crops of the same sections, under the same augmentation, with its own thresholds and
the same averaging of four mirror images. Thresholds were chosen on the validation sections.
Foreground is pooled over all pixels; *off the rim* leaves out two pixels to either side of the true
outline. Sections are scored one by one in 2D and averaged (95 % interval); in 3D an instance is one
through the slab. Truth in 3D is the 3D components of binary masks. What a score is:
[Concepts](../concepts.md#automatic-scores). One rule was added after EPFL's reported sections had
been scored once: [how the head was chosen](choosing-head.md) has the scores before and after."""
Row = Mapping[str, str]
COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("method", lambda row: row["method"]),
    ("foreground IoU / Dice", lambda row: _pair(row, "foreground_iou", "foreground_dice")),
    ("IoU off the rim", lambda row: _cell(row, "foreground_iou_off_boundary")),
    ("sections: mSA", lambda row: _interval(row, "section_msa")),
    ("AP50", lambda row: _cell(row, "section_ap50")),
    ("3D: mSA", lambda row: _cell(row, "msa")),
    ("AP50 / AP75", lambda row: _pair(row, "ap50", "ap75")),
    ("F1 / PQ", lambda row: _pair(row, "f1", "panoptic_quality")),
    ("found / true", lambda row: f"{row['num_predicted']} / {row['num_true']}"),
    ("volume error", lambda row: f"{100 * float(row['relative_volume_error'] or 'nan'):+.1f} %"),
    ("ASD / HD95, nm", lambda row: _pair(row, "asd_nm", "hd95_nm", digits=0)),
)


def automatic_parts(
    name: str, command: str, facts: Mapping[str, Any], rows: Sequence[Row]
) -> Iterator[str]:
    """The section of the page on one experiment."""
    yield f"## `{name}`"
    yield f"```console\n$ {command}\n```"
    first, last = int(rows[0]["first_section"]) + 1, int(rows[0]["last_section"]) + 1
    steps = facts.get("head_steps", "none here")
    yield (
        f"{rows[0]['volume']}, sections {first}-{last}; {str(facts['created'])[:10]}, "
        f"{facts['base_model']}, head: {steps} steps, "
        f"{facts.get('processor', 'unknown processor')}, {facts['cores']} cores."
    )
    yield _table(
        [title for title, _ in COLUMNS], [[cell(row) for _, cell in COLUMNS] for row in rows]
    )


def overview_rows(name: str, rows: Sequence[Row]) -> list[list[str]]:
    """A line for each method: foreground IoU, mSA of sections, mSA and AP50 in 3D."""
    wanted = ("foreground_iou", "section_msa", "section_ap50", "msa", "ap50")
    return [
        [f"`{name}`", row["method"], *(_cell(row, column) for column in wanted)] for row in rows
    ]


OVERVIEW_HEADER = (
    *("experiment", "method", "foreground IoU", "sections: mSA", "AP50"),
    *("3D: mSA", "AP50"),
)


def _cell(row: Row, name: str, digits: int = 3) -> str:
    text = row.get(name, "")
    if not text:
        return ""
    return number(float(text)) if digits == 3 else f"{float(text):.{digits}f}"


def _pair(row: Row, first: str, second: str, digits: int = 3) -> str:
    cells = [_cell(row, name, digits) for name in (first, second)]
    return " / ".join(cells) if any(cells) else ""


def _interval(row: Row, name: str) -> str:
    low, high = _cell(row, f"{name}_low"), _cell(row, f"{name}_high")
    return _cell(row, name) + (f" ({low} to {high})" if low else "")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
