"""A study with everything settled before the first run: which settings are compared, how often."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from mitosam.config import RunSettings, replace_settings, resolve_settings
from mitosam.errors import MitosamError, SettingsError
from mitosam.workflows.evaluate_clicks import require_patience
from mitosam.workflows.study_file import (
    DataFile,
    FactorFile,
    StudyFile,
    find_study,
    flat_settings,
    read_study_file,
)

BASE = "base"
_EARLIER = {"base.training.base_share": 0.0, "base.head.embedding_of": "tuned"}
"""What was done before there were these settings, where it is not their default."""
# What a level must not set, and why.
_KEPT = {
    "seed": "the study's seeds say it",
    "evaluation": "all levels must be scored in the same way; set it in [base]",
    "cache": "it changes no result; set it in [base]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One level, or one combination of levels, that is compared with the base."""

    factor: str
    label: str
    values: Mapping[str, Any]
    """What it sets, by dotted name."""
    settings: RunSettings
    """All settings, but for the seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run: the settings and the seed; several arms that come to the same share it."""

    name: str
    settings: RunSettings
    seed: int
    arms: tuple[Arm, ...]

    @property
    def title(self) -> str:
        """What progress calls it."""
        first = self.arms[0]
        name = BASE if first.factor == BASE else f"{first.factor}: {first.label}"
        return f"{name}, seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Arms, seeds and what is scored; `arms` begins with the base."""

    name: str
    title: str
    seeds: tuple[int, ...]
    clicks: int
    automatic: bool
    arms: tuple[Arm, ...]
    data: DataFile
    """Files as seen from the working folder."""

    @property
    def base(self) -> Arm:
        """What all others are compared with."""
        return self.arms[0]

    def cells(self) -> list[Cell]:
        """The runs, seed by seed, the base first; what comes to the same settings is run once."""
        groups: dict[str, list[tuple[Arm, int]]] = {}
        for seed in self.seeds:
            for arm in self.arms:
                groups.setdefault(_key(_seeded(arm, seed)), []).append((arm, seed))
        return [
            Cell(
                name=f"{number:03}-{_slug(group[0][0])}-seed-{group[0][1]}",
                settings=_seeded(*group[0]),
                seed=group[0][1],
                arms=tuple(arm for arm, _ in group),
            )
            for number, group in enumerate(groups.values(), start=1)
        ]

    def facts(self) -> dict[str, Any]:
        """All that results depend on but for the files, for a later comparison."""
        return {
            "seeds": list(self.seeds),
            "clicks": self.clicks,
            "automatic": self.automatic,
            "base": _flat(self.base.settings),
            "levels": {f"{arm.factor}: {arm.label}": dict(arm.values) for arm in self.arms[1:]},
        }


def read_study(name: str, *, overrides: Sequence[str] = ()) -> Study:
    """The study of a TOML file, or one that comes with the package, checked to the last level.

    `overrides` are `section.name=value` texts that change the base.

    Raises
    ------
    SettingsError
        Something in it does not fit; the message says what, and which level has it.
    """
    path = find_study(name)
    file = read_study_file(path)
    try:
        return _resolve(path.stem, file, _data_seen_from(path.parent, file.data), overrides)
    except SettingsError as error:
        raise SettingsError(f"{path.name}: {error}") from error


def _resolve(name: str, file: StudyFile, data: DataFile, overrides: Sequence[str]) -> Study:
    _check_seeds(file.seeds)
    require_patience(file.clicks)
    _check_names([factor.name for factor in file.factor])
    base = _base_settings(file, overrides)
    if file.automatic and not base.head.enabled:
        raise SettingsError("automatic = true needs the prompt-free head; set head.enabled in base")
    if file.clicks and set(base.evaluation.protocols) == {"patch-box"}:
        raise SettingsError("clicks correct objects, and evaluation.protocols has only patch-box")
    arms = [Arm(factor=BASE, label=BASE, values={}, settings=base)]
    for factor in file.factor:
        levels = factor.levels()
        _check_levels(factor.name, levels)
        if factor.kind == "one-factor":
            arms += [_arm(factor.name, label, values, base) for label, values in levels.items()]
    arms += _product(file, base)
    return Study(
        name=name,
        title=file.title or name,
        seeds=file.seeds,
        clicks=file.clicks,
        automatic=file.automatic,
        arms=tuple(arms),
        data=data,
    )


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise SettingsError("a study needs seeds, as seeds = [0, 1, 2]")
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise SettingsError(f"seeds must differ and be 0 or above, got {list(seeds)}")


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise SettingsError("a study varies something; add a [[factor]]")
    for name in names:
        if names.count(name) > 1 or name == BASE:
            taken = "is the base's" if name == BASE else "stands for two factors"
            raise SettingsError(f'the name "{name}" {taken}; choose another')


def _base_settings(file: StudyFile, overrides: Sequence[str]) -> RunSettings:
    if "seed" in file.base:
        raise SettingsError("base sets seed, which the study's seeds say")
    try:
        return resolve_settings(preset=file.preset, values=file.base, overrides=overrides)
    except SettingsError as error:
        raise SettingsError(f"base: {error}") from error


def _check_levels(factor: str, levels: Mapping[str, Mapping[str, Any]]) -> None:
    for label, values in levels.items():
        for name in values:
            section = name.partition(".")[0]
            if section in _KEPT:
                raise SettingsError(
                    f'factor "{factor}", level "{label}" sets {name}, but {_KEPT[section]}'
                )


def _arm(factor: str, label: str, values: Mapping[str, Any], base: RunSettings) -> Arm:
    try:
        settings = replace_settings(base, values)
    except MitosamError as error:
        raise SettingsError(f'factor "{factor}", level "{label}": {error}') from error
    return Arm(factor=factor, label=label, values=values, settings=settings)


def _product(file: StudyFile, base: RunSettings) -> list[Arm]:
    """Every combination of the levels of the factorial factors."""
    factors = [factor for factor in file.factor if factor.kind == "factorial"]
    if not factors:
        return []
    if len(factors) == 1:
        raise SettingsError(
            f'factor "{factors[0].name}" is the only factorial one; make it one-factor, or add one'
        )
    _check_product(file, factors)
    name = " \N{MULTIPLICATION SIGN} ".join(factor.name for factor in factors)
    arms = []
    for chosen in product(*(factor.levels().items() for factor in factors)):
        label = ", ".join(label for label, _ in chosen)
        merged: dict[str, Any] = {}
        for _, values in chosen:
            merged |= values
        arms.append(_arm(name, label, merged, base))
    return arms


def _check_product(file: StudyFile, factors: Sequence[FactorFile]) -> None:
    for first, second in combinations(factors, 2):
        if shared := sorted(_names(first) & _names(second)):
            raise SettingsError(
                f'factors "{first.name}" and "{second.name}" are multiplied and both set '
                f"{shared[0]}; make one of them one-factor, or take it out of one"
            )
    stated = flat_settings(file.base)
    for factor in factors:
        for name in sorted(_names(factor) & stated.keys()):
            values = [one[name] for one in factor.levels().values() if name in one]
            if stated[name] not in values:
                raise SettingsError(
                    f"base sets {name} to {stated[name]!r}, which no level of the factorial "
                    f'"{factor.name}" does; make it a level, or leave it out of base'
                )


def _names(factor: FactorFile) -> set[str]:
    return {name for values in factor.levels().values() for name in values}


def changed_facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two studies, as "name: before -> after".

    A setting that mitosam did not have before had its default, or was as `_EARLIER` says.
    """
    defaults = {f"base.{name}": value for name, value in _flat(RunSettings()).items()}
    old, new = defaults | _EARLIER | flat_settings(before), defaults | flat_settings(after)
    return [
        f"{name}: {old.get(name, 'not there')} -> {new.get(name, 'not there')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name, ...) != new.get(name, ...)
    ]


def _data_seen_from(folder: Path, data: DataFile) -> DataFile:
    names = ("images", "masks", "test_images", "test_masks")
    found = {name: getattr(data, name) for name in names}
    return data.model_copy(update={n: folder / path for n, path in found.items() if path})


def _seeded(arm: Arm, seed: int) -> RunSettings:
    return arm.settings.model_copy(update={"seed": seed})


def _flat(settings: RunSettings) -> dict[str, Any]:
    return flat_settings(settings.model_dump(mode="json", exclude={"cache", "seed"}))


def _key(settings: RunSettings) -> str:
    return json.dumps(settings.model_dump(mode="json", exclude={"cache"}), sort_keys=True)


def _slug(arm: Arm) -> str:
    """The arm's name as a part of a file's name."""
    name = arm.factor if arm.factor == BASE else f"{arm.factor}-{arm.label}"
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")[:60]
