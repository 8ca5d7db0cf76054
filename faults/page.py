"""A table of what came of the faults, by stage and kind.

python -m faults.page build/*.jsonl      one table of several runs of `faults.run` side by side
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from faults.kinds import DAMAGES, SIGNALS


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the table needs of an outcome."""

    stage: str
    kind: str
    verdict: str
    where: str
    codes: Sequence[int]


def read_judged(text: str) -> Judged:
    """A line of what `faults.run` wrote."""
    found = json.loads(text)
    return Judged(**{name: found[name] for name in Judged.__slots__})


def counted(outcomes: Iterable[Judged]) -> list[Judged]:
    """Those that met a command at work; where there was nothing to damage, the kill before counts.

    A result that is wrong counts in any case.
    """
    found = []
    for one in outcomes:
        ended = one.kind in (*SIGNALS, *DAMAGES) and list(one.codes) == [0]
        spared = any(
            words in one.where
            for words in ("nothing there", "it ended meanwhile", "0 of 0 workers")
        )
        if one.verdict == "unhurt" and (ended or spared or "; 0 workers" in one.where):
            continue
        found.append(replace(one, kind="SIGKILL") if "nothing to damage" in one.where else one)
    return found


def to_markdown(judged: Iterable[Judged]) -> str:
    """Faults by stage and kind, and by verdict."""
    outcomes = counted(judged)
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


if __name__ == "__main__":
    lines = [line for name in sys.argv[1:] for line in Path(name).read_text("utf-8").splitlines()]
    print(to_markdown(map(read_judged, lines)))
