"""Encode tiles on several processes, each its share of what is not in the cache yet."""

from __future__ import annotations

from collections.abc import Sequence

from mitosam.embeddings import EmbeddingCache, Tile
from mitosam.progress import SILENT, Progress
from mitosam.ranks import current


def encode_together(
    tiles: Sequence[Tile], cache: EmbeddingCache, progress: Progress = SILENT
) -> None:
    """Put the tiles into the cache, no two processes the same; a process alone has nothing to do.

    The processes share the cache's folder. One that has another finds its tiles missing later, and
    encodes them then.
    """
    ranks = current()
    if ranks.count == 1:
        return
    own = ranks.share(range(len(tiles)))
    keys = [(cache.key(tiles[number].read(), tiles[number].frame), number) for number in own]
    missing = ranks.put_together([(key, number) for key, number in keys if cache.get(key) is None])
    # Of tiles that are alike, one.
    wanted = sorted(dict(sorted(missing, reverse=True)).values())
    for number in progress.track(ranks.share(wanted), "encoding, in shares", unit="tile"):
        cache.fill_one(tiles[number].read(), tiles[number].frame)
    ranks.wait()
