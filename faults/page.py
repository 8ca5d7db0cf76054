"""A table of what came of the faults, by stage and kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol


class Judged(Protocol):
    """What the table needs of an outcome."""

    @property
    def stage(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def verdict(self) -> str: ...  # noqa: D102


def to_markdown(outcomes: Sequence[Judged]) -> str:
    """Faults by stage and kind, and by verdict."""
    names = list(dict.fromkeys(one.stage for one in outcomes))
    kinds = sorted({one.kind for one in outcomes})
    counts = Counter((one.stage, one.kind) for one in outcomes)
    rows = [["fault", *names, "all"]]
    for kind in kinds:
        row = [counts[name, kind] for name in names]
        rows.append([kind, *map(str, row), str(sum(row))])
    totals = [sum(one.stage == name for one in outcomes) for name in names]
    rows.append(["all", *map(str, totals), str(sum(totals))])
    verdicts = [
        [name, str(n)] for name, n in Counter(one.verdict for one in outcomes).most_common()
    ]
    return f"{_table(rows)}\n\n{_table([['what came of it', 'faults'], *verdicts])}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))
