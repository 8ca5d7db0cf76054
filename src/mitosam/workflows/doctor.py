"""Look at what mitosam keeps in a folder, say what is damaged and what to do, and mend what can be.

A kind of folder is a `Check`: how it is told, and what looks at it. `CHECKS` lists them; a new one
is a line more.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mitosam.embeddings import ABANDONED_AFTER_S
from mitosam.errors import InputNotFoundError, OutputInUseError
from mitosam.locks import claims_on, read_owner, why_dead
from mitosam.progress import SILENT, Progress

Severity = Literal["damage", "leftover", "remark"]
Look = Callable[[Path, Progress], Iterable["Finding"]]
LEAST_FREE_BYTES = 2e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be, or worth knowing."""

    severity: Severity
    """Damage makes a result wrong or stops a command; a leftover only takes space."""
    path: Path
    what: str
    means: str
    """What follows from it."""
    way_out: str
    """What to do about it."""
    is_repairable: bool = False
    """Whether removing `path` loses nothing that is not made again by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How a kind of folder or file is told from others, and what looks at it."""

    kind: str
    applies: Callable[[Path], bool]
    look: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found in one place."""

    path: Path
    kinds: tuple[str, ...]
    findings: tuple[Finding, ...]
    repaired: tuple[Path, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nothing is damaged, or not any more."""
        return not any(
            one.severity == "damage" and one.path not in self.repaired for one in self.findings
        )


def doctor(path: Path, *, repair: bool = False, progress: Progress = SILENT) -> Examination:
    """What is wrong with a run, a segmentation, an embedding cache, an OME-Zarr or a session.

    Nothing is changed unless `repair` is set; then only what is made again by itself, or belongs to
    a process that is dead, is removed.

    Raises
    ------
    InputNotFoundError
        There is no such path, and nothing that was to become it.
    OutputInUseError
        It is to be repaired, and another process is writing to it.
    """
    path = path.resolve()
    places = [place for place in (path, work_folder_of(path)) if place.exists()]
    if not places:
        raise InputNotFoundError(f"{path} does not exist; give a run, a segmentation or a cache")
    kinds: list[str] = []
    findings = list(_of_every_kind(path))
    for place in places:
        for check in _checks():
            if check.applies(place):
                kinds.append(check.kind)
                findings += check.look(place, progress)
    repaired = _repair(path, findings) if repair else ()
    return Examination(
        path=path, kinds=tuple(kinds), findings=tuple(findings), repaired=tuple(repaired)
    )


def work_folder_of(path: Path) -> Path:
    """The hidden folder in which a segmentation grows that is to become `path`."""
    return path.with_name(f".{path.name}.work")


def _checks() -> tuple[Check, ...]:
    from mitosam.workflows.doctor_checks import CHECKS

    return CHECKS


def _of_every_kind(path: Path) -> Iterator[Finding]:
    """Locks beside it, what killed writers left in it, and the space on its disk."""
    yield from _locks(path)
    if path.is_dir():
        yield from _leftovers(path)
    free = shutil.disk_usage(path if path.exists() else path.parent).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            severity="remark",
            path=path,
            what=f"{free / 1e9:.1f} GB are free on its disk",
            means="commands that write to it may stop with a full disk",
            way_out="free some space",
        )


def _locks(path: Path) -> Iterator[Finding]:
    for claim in claims_on(path):
        dead = why_dead(claim)
        owner = read_owner(claim) if claim.exists() else None
        whose = f"process {owner.describe()}" if owner else "an unknown process"
        yield Finding(
            severity="leftover" if dead else "remark",
            path=claim,
            what=f"a lock of {whose}" + (f", which is dead: {dead}" if dead else ""),
            means="none: the next command takes over" if dead else "it is being written now",
            way_out="--repair removes it" if dead else "wait until that process ends",
            is_repairable=bool(dead),
        )


def _leftovers(path: Path) -> Iterator[Finding]:
    oldest = time.time() - ABANDONED_AFTER_S
    for part in sorted(path.rglob(".*.part*")):
        if part.stat().st_mtime < oldest:
            yield Finding(
                severity="leftover",
                path=part,
                what="half written, an hour ago or earlier",
                means="a command was killed; nothing reads it",
                way_out="--repair removes it",
                is_repairable=True,
            )


def _repair(path: Path, findings: Iterable[Finding]) -> Iterator[Path]:
    """Remove what can be made again."""
    wanted = [one.path for one in findings if one.is_repairable]
    if any(why_dead(claim) is None for claim in claims_on(path)):
        raise OutputInUseError(f"{path} is being written by another process; wait until that ends")
    for one in wanted:
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink(missing_ok=True)
        yield one
