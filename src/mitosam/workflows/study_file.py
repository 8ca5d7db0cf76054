"""What a study's TOML file may hold; `study` makes runs of it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mitosam.errors import InputNotFoundError, SettingsError, shown
from mitosam.io.limits import read_text

Kind = Literal["one-factor", "factorial"]
_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PhantomFile(BaseModel):
    """A made-up volume, where there is none to study."""

    model_config = _STRICT

    shape_zyx: tuple[int, int, int]
    """Sections, height and width."""
    seed: int = Field(default=7, ge=0)
    """Another number is another volume."""


class DataFile(BaseModel):
    """The files that are studied, seen from the study file's folder."""

    model_config = _STRICT

    images: Path | None = None
    """EM images."""
    masks: Path | None = None
    """Their masks."""
    test_images: Path | None = None
    """Images of another volume to report on."""
    test_masks: Path | None = None
    """Masks of that volume."""
    voxel_size_nm: tuple[float, float, float] | None = None
    """z, y, x, where the file has none."""
    phantom: PhantomFile | None = None
    """A made-up volume instead."""

    @model_validator(mode="after")
    def _check(self) -> DataFile:
        if (self.images is None) != (self.masks is None):
            raise ValueError("images and masks go together, got only one of them")
        if (self.test_images is None) != (self.test_masks is None):
            raise ValueError("test_images and test_masks go together, got only one of them")
        if self.phantom and self.images:
            raise ValueError("a phantom stands for images and masks; give only one of them")
        return self


MAX_DEPTH = 20
"""Of tables within tables."""


class LevelFile(BaseModel):
    """One level of a factor: what it is called, and what it sets."""

    model_config = _STRICT

    label: str = Field(min_length=1)
    """What tables and the figure call it."""
    value: Any = None
    """The value of the factor's `setting`."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Several settings at once, as in a run's TOML file."""


class FactorFile(BaseModel):
    """What is varied."""

    model_config = _STRICT

    name: str = Field(min_length=1)
    """What tables and the figure call it."""
    kind: Kind = "one-factor"
    """"one-factor": each level alone, all else as in the base; "factorial": every level with every
    level of the other factors of this kind."""
    setting: str = ""
    """The setting that `values`, or each level's `value`, are of, as training.learning_rate."""
    values: tuple[Any, ...] = ()
    """Its values; they are also the labels."""
    level: tuple[LevelFile, ...] = ()
    """The levels, where they have labels of their own or set several settings."""

    @model_validator(mode="after")
    def _check(self) -> FactorFile:
        if bool(self.values) == bool(self.level):
            raise ValueError(f'factor "{self.name}" needs either values or levels')
        if self.values and not self.setting:
            raise ValueError(f'factor "{self.name}" has values but no setting that they are of')
        for level in self.level:
            if (level.value is None) == (not level.set):
                raise ValueError(
                    f'level "{level.label}" of "{self.name}" needs either value or set'
                )
            if level.value is not None and not self.setting:
                raise ValueError(
                    f'level "{level.label}" of "{self.name}" has a value, but the factor no setting'
                )
        return self

    def levels(self) -> dict[str, dict[str, Any]]:
        """What each label sets, by dotted name.

        Raises
        ------
        SettingsError
            Two levels have the same label.
        """
        pairs = [(_label(value), {self.setting: value}) for value in self.values]
        for level in self.level:
            one = {self.setting: level.value} if level.value is not None else level.set
            pairs.append((level.label, one))
        labels = [label for label, _ in pairs]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise SettingsError(f'factor "{self.name}" has two levels "{twice[0]}"; rename one')
        return {label: flat_settings(values) for label, values in pairs}


class StudyFile(BaseModel):
    """A study: on which data, from which base, what is varied, and how often."""

    model_config = _STRICT

    title: str = ""
    """The page's title."""
    seeds: tuple[int, ...] = ()
    """Each setting is run once with each of these."""
    preset: str = "default"
    """What the base begins with."""
    clicks: int = 0
    """Correcting clicks that are scored too; 0 for none."""
    automatic: bool = False
    """Score what is found without prompts too, which needs head.enabled."""
    data: DataFile = DataFile()
    """The files."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Settings of the base, as in a run's TOML file; all else is as in the preset."""
    factor: tuple[FactorFile, ...] = ()
    """What is varied."""


def read_study_file(path: Path) -> StudyFile:
    """The file's contents, or a SettingsError that names the first thing that does not fit.

    Raises
    ------
    InputNotFoundError
        There is no such file.
    """
    try:
        return StudyFile.model_validate(tomllib.loads(read_text(path, error=SettingsError)))
    except SettingsError:
        raise
    except FileNotFoundError as error:
        raise InputNotFoundError(
            f"{path} does not exist; give a study file, or one of {', '.join(shipped_studies())}"
        ) from error
    except ValidationError as error:
        raise SettingsError(f"{path.name}: {_first_of(error)}") from error
    except (ValueError, OSError, RecursionError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}") from error


def _first_of(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{name} is nothing that a study file holds; see docs/ablation.md"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message
    return (
        f"{name}: {message}"
        if first["type"] == "missing"
        else f"{name}: {message}, got {shown(first['input'])}"
    )


def find_study(name: str) -> Path:
    """The path itself, or the study of that name that comes with the package."""
    if name in shipped_studies() and not Path(name).exists():
        return Path(str(resources.files("mitosam").joinpath(f"studies/{name}.toml")))
    return Path(name)


def shipped_studies() -> list[str]:
    """The names of the studies that come with the package."""
    folder = resources.files("mitosam").joinpath("studies")
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def flat_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name, from tables within tables.

    >>> flat_settings({"training": {"epochs": 3}, "data.tile_px": 256})
    {'training.epochs': 3, 'data.tile_px': 256}

    Raises
    ------
    SettingsError
        Tables lie deeper in each other than any setting's.
    """
    if prefix.count(".") > MAX_DEPTH:
        raise SettingsError(f"settings lie in at most {MAX_DEPTH} tables, got {prefix[:50]}...")
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _label(value: Any) -> str:  # noqa: ANN401
    """A value as a reader writes it.

    >>> _label(0.0002), _label(True), _label("dice")
    ('0.0002', 'on', 'dice')
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
