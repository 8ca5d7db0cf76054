"""What every page of a run says of where its numbers come from, and of what to beware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mitosam.workflows.runs import Part, Run


def split_notes(parts: Sequence[Part]) -> list[str]:
    """What a reader must know of how sections were kept apart."""
    notes = [f"{part.volume.name}: {part.split.note}" for part in parts if part.split.note]
    if any(part.split.leaky for part in parts):
        notes.append(
            "LEAKY SPLIT: sections that are reported on neighbour sections that were trained on, "
            "and neighbouring sections are near copies. These scores are too high."
        )
    return notes


def provenance_rows(run: Run) -> list[tuple[str, str]]:
    """All that `run.json` holds, and the settings, as label and text."""
    facts = run.provenance()
    rows = [(name, _shown(value)) for name, value in facts.items() if not isinstance(value, dict)]
    for name, value in facts.items():
        if isinstance(value, dict):
            rows += [(f"{name}: {key}", _shown(inner)) for key, inner in value.items()]
    rows += [("settings", run.settings.to_toml())]
    return [(name.replace("_", " "), text) for name, text in rows if text]


def _shown(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
