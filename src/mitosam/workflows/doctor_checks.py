"""The kinds of folders that `doctor` knows, and what looks at each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mitosam.embeddings import CacheSettings, read_embedding
from mitosam.errors import DamagedFileError, MitosamError
from mitosam.inference.block_array import find_damaged_blocks
from mitosam.io.ome_zarr_check import find_unreadable
from mitosam.io.ome_zarr_metadata import is_zarr
from mitosam.io.tables import read_csv
from mitosam.progress import Progress
from mitosam.sealed_tensors import check_tensor_file
from mitosam.workflows.doctor import Check, Finding
from mitosam.workflows.doctor_runs import look_at_run
from mitosam.workflows.runs import SETTINGS
from mitosam.workflows.segment_folder import FACTS, IDENTITY, LABELS

SESSION = "annotations.sqlite"
MAX_BLOCK_BYTES = 1 << 20
"""Of a session's block of labels, unpacked; a larger one is damaged in any case."""
ANEW = "it is removed and made again when it is needed; --repair removes it now"


def look_at_cache(path: Path, progress: Progress) -> Iterator[Finding]:
    """Each embedding that is damaged, how many have no checksum, and how much there is."""
    files = sorted(path.glob("*/??/[!.]*.safetensors"))
    num_bytes = unverified = 0
    for file in progress.track(files, "reading embeddings", unit="embedding"):
        try:
            read_embedding(file)
            unverified += not check_tensor_file(file)
            num_bytes += file.stat().st_size
        except FileNotFoundError:
            continue  # another run trims the cache
        except (DamagedFileError, OSError) as error:
            yield Finding(
                severity="damage", path=file, what=_reason(error),
                means="its tile is encoded again", way_out=ANEW, is_repairable=True,
            )  # fmt: skip
    yield _remark(path, f"{len(files)} embeddings, {num_bytes / 1e9:.2f} GB", "none", "none needed")
    if num_bytes > CacheSettings().limit_gb * 1e9:
        yield _remark(
            path, f"more than the usual limit of {CacheSettings().limit_gb:g} GB",
            "the next run removes what was unused for longest", "none needed",
        )  # fmt: skip
    if unverified:
        yield _remark(
            path, f"{unverified} embeddings of earlier versions have no checksum",
            "a flipped byte in them would not be noticed",
            "mitosam cache --clear, if the disk is in doubt",
        )  # fmt: skip


def look_at_segmentation(path: Path, progress: Progress) -> Iterator[Finding]:
    """Labels of which a chunk is damaged, tables that are missing or do not fit them."""
    for name in (FACTS, "mitochondria.csv", "sections.csv", "report.html"):
        if not (path / name).is_file():
            yield Finding(
                severity="damage", path=path / name, what="it is missing",
                means="the result is not whole", way_out="segment again into another folder",
            )  # fmt: skip
    table, labels = path / "mitochondria.csv", path / LABELS
    damage = list(look_at_zarr(labels, progress)) if labels.exists() else []
    yield from damage
    if table.is_file() and labels.exists() and not damage:
        yield from _ids_and_rows(table, labels, progress)


def look_at_work(path: Path, progress: Progress) -> Iterator[Finding]:
    """Blocks of a segmentation that has not ended, of which some may be damaged."""
    if not (path / IDENTITY).is_file():
        yield Finding(
            severity="leftover", path=path, what=f"it has no {IDENTITY}",
            means="a segmentation was killed as it began", way_out="segment again",
        )  # fmt: skip
    arrays = sorted({mark.parent for mark in path.rglob("array.zarr")})
    for folder in progress.track(arrays, "reading blocks", unit="array"):
        try:
            count, damaged = find_damaged_blocks(folder)
        except DamagedFileError as error:
            yield Finding(
                severity="damage", path=folder, what=_reason(error),
                means="its blocks are computed again", way_out=ANEW, is_repairable=True,
            )  # fmt: skip
            continue
        yield _remark(folder, f"{count - len(damaged)} blocks are done", "none", "none needed")
        for mark in damaged:
            yield Finding(
                severity="damage", path=folder / "done" / mark, what="the block's bytes changed",
                means="it is computed again when the same command is started again",
                way_out=ANEW, is_repairable=True,
            )  # fmt: skip


def look_at_zarr(path: Path, progress: Progress) -> Iterator[Finding]:
    """The chunks that cannot be read."""
    for what in find_unreadable(path, progress):
        yield _damage(path, what, "restore it from a copy, or make it again")


def look_at_session(path: Path, progress: Progress) -> Iterator[Finding]:
    """A file that SQLite finds damaged, or blocks of labels that cannot be unpacked."""
    file = path / SESSION
    try:
        verdict, rows = _read_database(file)
    except sqlite3.Error as error:
        if "locked" in str(error):
            yield _remark(file, "a session has it open", "it was not looked into", "close it first")
        else:
            yield _damage(file, str(error), "restore it from a copy")
        return
    if verdict != "ok":
        yield _damage(file, verdict, "restore it from a copy")
    for z, row, column, packed in progress.track(rows, "reading labels", unit="block"):
        if not _unpacks(packed):
            section = z + 1 if isinstance(z, int) else z
            what = f"block ({row}, {column}) of section {section} cannot be read"
            yield _damage(file, what, "restore it from a copy, or outline that part again")


def _read_database(file: Path) -> tuple[str, list[tuple[int, int, int, bytes]]]:
    """What SQLite says of a session's file, and all its blocks of labels."""
    beside = [file.with_name(f"{file.name}-{end}") for end in ("wal", "shm")]
    new = [path for path in beside if not path.exists()]  # SQLite makes them even to read
    try:
        database = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)
        try:
            (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            rows = database.execute("SELECT z, row, col, ids FROM blocks").fetchall()
        finally:
            database.close()
    finally:
        for path in new:
            path.unlink(missing_ok=True)
    return str(verdict), rows


def look_at_model(path: Path, progress: Progress) -> Iterator[Finding]:  # noqa: ARG001
    """A file of weights that is not as it was written."""
    try:
        if not check_tensor_file(path):
            what = "it has no checksum of ours"
            yield _remark(path, what, "a flipped byte in it would not be noticed", "none needed")
    except DamagedFileError as error:
        yield _damage(path, error.what, "restore it from a copy, or make it again")


CHECKS: tuple[Check, ...] = (
    Check(kind="run", applies=lambda p: (p / SETTINGS).is_file(), look=look_at_run),
    Check(
        kind="segmentation",
        applies=lambda p: (p / FACTS).is_file() or (p / LABELS).is_dir(),
        look=look_at_segmentation,
    ),
    Check(
        kind="segmentation that has not ended",
        applies=lambda p: p.is_dir() and p.name.startswith(".") and p.name.endswith(".work"),
        look=look_at_work,
    ),
    Check(
        kind="embedding cache",
        applies=lambda p: any(p.glob("*-*/??/*.safetensors")),
        look=look_at_cache,
    ),
    Check(kind="OME-Zarr", applies=lambda p: p.is_dir() and is_zarr(p), look=look_at_zarr),
    Check(kind="session", applies=lambda p: (p / SESSION).is_file(), look=look_at_session),
    Check(
        kind="model",
        applies=lambda p: p.is_file() and p.suffix == ".safetensors",
        look=look_at_model,
    ),
)


def _ids_and_rows(table: Path, labels: Path, progress: Progress) -> Iterator[Finding]:
    """Instances that stand in the table and not in the labels, or the other way."""
    import numpy as np

    from mitosam.io.open import open_volume

    found: set[int] = set()
    try:
        listed = set(read_csv(table, lambda row: int(row["instance"])))
    except MitosamError as error:
        yield _damage(table, _reason(error), "measure the labels again with `mitosam measure`")
        return
    try:
        volume = open_volume(labels)
        for z in progress.track(range(len(volume)), "counting instances", unit="section"):
            found |= set(np.unique(volume.section(z)).tolist()) - {0}
    except MitosamError as error:
        yield _damage(labels, _reason(error), "segment again into another folder")
        return
    if found != listed:
        what = f"{len(listed - found)} instances are not in the labels, {len(found - listed)} more"
        yield _damage(table, what, "measure the labels again with `mitosam measure`")


def _unpacks(packed: bytes) -> bool:
    import zlib

    try:
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(packed, MAX_BLOCK_BYTES)
    except (zlib.error, TypeError):
        return False
    return unpacker.eof and len(unpacked) % 4 == 0


def _reason(error: Exception) -> str:
    return error.what if isinstance(error, DamagedFileError) and error.what else str(error)


def _damage(path: Path, what: str, way_out: str) -> Finding:
    means = "what reads it is refused, so that nothing wrong comes of it"
    return Finding(severity="damage", path=path, what=what, means=means, way_out=way_out)


def _remark(path: Path, what: str, means: str, way_out: str) -> Finding:
    return Finding(severity="remark", path=path, what=what, means=means, way_out=way_out)
