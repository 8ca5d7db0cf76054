"""What a user does who does what the error's line says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from faults.stages import Stage


def follow(stage: Stage, folder: Path, templates: Path, line: str) -> str | None:
    """Do what a refusal advises; what was done, None if it advises nothing that we understand."""
    if re.search(r"is being written by another|is in use by another", line):
        return "waited"
    found = re.search(r"([\w./-]+) is damaged .*; remove (it|([\w./-]+)(?: and ([\w./-]+))?)", line)
    if found:
        first, what = folder / found[1], found[2]
        paths = [first] if what == "it" else [_beside(folder, first, n) for n in found.groups()[2:]]
        for path in paths:
            if path is not None:
                _remove(path)
        return f"removed {what if what != 'it' else found[1]}"
    if re.search(r"restore it|restore a copy", line):
        return _anew(stage, folder, templates, "restored all from a copy")
    if re.search(
        r"make the run anew|run `mitosam prepare` again|is not a run|choose another --out"
        r"|is not prepared|remove it if it is not needed|holds a run already|train(?:ed)? again",
        line,
    ):
        return _anew(stage, folder, templates, "began anew")
    if re.search(r"free some space|run again|raise cache|copy it again|make it again", line):
        return "ran again"
    return None


def _beside(folder: Path, first: Path, name: str | None) -> Path | None:
    if name is None:
        return None
    return folder / name if "/" in name else first.with_name(name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _anew(stage: Stage, folder: Path, templates: Path, done: str) -> str:
    """As before the command was started first."""
    for path in [folder / stage.out, folder / f".{stage.out}.work"]:
        if path.exists():
            _remove(path)
    copy_needs(stage, templates, folder, only=stage.out)
    return done


def copy_needs(stage: Stage, templates: Path, folder: Path, only: str | None = None) -> None:
    """What a stage begins with."""
    for need in stage.needs:
        source, _, target = need.partition(">")
        target = target or source
        if only not in (None, target) or (folder / target).exists():
            continue
        if (templates / source).is_dir():
            shutil.copytree(templates / source, folder / target)
        else:
            shutil.copyfile(templates / source, folder / target)
