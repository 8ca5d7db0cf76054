"""What the server took from its abusers, as part of a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.abuse import Abuse

MINUTES = (0, 1, 3, 5)


def abuse_part(found: Abuse, table: Callable[[Sequence[str], list[list[str]]], str]) -> str:
    """What came back, what the server held, and how long a user waited."""
    rows = [
        [name, ", ".join(f"{answer}: {count}" for answer, count in answers.items())]
        for name, answers in found.answers.items()
    ]
    minutes = [m for m in MINUTES if 60 * m <= found.seconds + 30]
    held = ", ".join(f"{found.bytes_at(60 * m) / 2**20:.0f} MB after {m} min" for m in minutes)
    waits = np.array(found.user_waits_s)
    return f"""## The browser's server under abuse

{found.num_clients} clients on loopback for {found.seconds:.0f} s,
beside one user who asks for a tile now and then.

{table(["clients", "answers"], rows)}
The server held {held}, and {found.calm_bytes / 2**20:.0f} MB when all was quiet again.
The user waited {np.median(waits):.2f} s (median), {np.percentile(waits, 95):.2f} s (95 %) and
{waits.max():.2f} s (longest) for a tile, {len(waits)} times, of which {found.user_failures} failed.
"""
