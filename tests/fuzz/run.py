"""Fuzzing for as long as one likes: python -m tests.fuzz.run --cases 100000.

One process opens the files, so that another core stays free. `--format` takes one format alone,
`--first` goes on where another run stopped, and `--out` keeps the counts and findings as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.engine import LIMIT_S, Tally, fuzz
from tests.fuzz.formats import FORMATS

AT_ONCE = 1
"""Cases of one format, for each share of it, before the next format's turn."""


def main() -> None:
    asked, started, known = _arguments(), time.monotonic(), 0
    tally = Tally()
    wanted = cases(asked.format or list(FORMATS), asked.first, asked.cases)
    for tally in fuzz(wanted, asked.limit):
        for finding in tally.findings[known:]:
            print(f"{finding.format} {finding.number}: {finding.what}", flush=True)
        known = len(tally.findings)
        _keep(asked.out, tally, time.monotonic() - started)
    print(f"{tally.count} files in {time.monotonic() - started:.0f} s, {known} findings")
    raise SystemExit(1 if known else 0)


def cases(names: list[str], first: int, count: int) -> Iterator[tuple[str, range]]:
    """So many cases, of every format in turn by its share."""
    given = 0
    while given < count:
        for name in names:
            share = FORMATS[name].share
            start = first * share
            size = min(AT_ONCE * share, count - given)
            yield name, range(start, start + size)
            given += size
        first += AT_ONCE


def _keep(out: Path | None, tally: Tally, seconds: float) -> None:
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    found = asdict(tally) | {"count": tally.count, "seconds": round(seconds)}
    found["outcomes"] = {name: dict(Counter(c)) for name, c in tally.outcomes.items()}
    out.write_text(json.dumps(found, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--format", nargs="+", choices=FORMATS)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds a file may take")
    return parser.parse_args()


if __name__ == "__main__":
    main()
