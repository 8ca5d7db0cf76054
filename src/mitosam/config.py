"""A run's settings: the sections that their owners define, presets, and TOML in and out."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mitosam.data.augmentation import AugmentationSettings
from mitosam.data.settings import DataSettings
from mitosam.data.splits import SplitSettings
from mitosam.embeddings import CacheSettings
from mitosam.errors import InputNotFoundError, SettingsError, shown
from mitosam.evaluation.settings import EvaluationSettings
from mitosam.inference.settings import PointGridSettings, PromptedSettings
from mitosam.io.limits import read_text
from mitosam.models.settings import ModelSettings
from mitosam.training.head_settings import HeadSettings
from mitosam.training.settings import TrainingSettings
from mitosam.training.teaching_settings import TeachingSettings

PRESETS = ("default", "paper")


class RunSettings(BaseModel):
    """Everything that describes a run, but for the files it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seed: int = Field(default=0, ge=0)
    """Everything random follows from this number."""
    model: ModelSettings = ModelSettings()
    """The base model."""
    data: DataSettings = DataSettings()
    """Patches and tiles."""
    split: SplitSettings = SplitSettings()
    """Which sections train, validate and test."""
    training: TrainingSettings = TrainingSettings()
    """How the model is taught."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """What the mask decoder sees of the sections it is trained on."""
    teaching: TeachingSettings = TeachingSettings()
    """How it is taught with a few sections that were just finished, in an interactive session."""
    head: HeadSettings = HeadSettings()
    """How the prompt-free head is taught."""
    prompted: PromptedSettings = PromptedSettings()
    """How the head's finds are asked of the mask decoder, by method "prompted"."""
    grid: PointGridSettings = PointGridSettings()
    """How a grid of points is asked of the mask decoder, by method "grid"."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How it is scored."""
    cache: CacheSettings = CacheSettings()
    """Where image embeddings are kept between runs."""

    def to_toml(self) -> str:
        """The settings as TOML; unset values are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def resolve_settings(
    *,
    preset: str = "default",
    file: Path | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> RunSettings:
    """Settings from a preset, then a TOML file, then `values`, then `section.name=value` texts.

    Each later source replaces what an earlier one says.

    Raises
    ------
    SettingsError
        A setting is unknown or out of range.
    """
    merged = _read_preset(preset)
    if file is not None:
        merged = _merge(merged, _read_toml(file))
    merged = _merge(merged, dict(values or {}))
    for override in overrides:
        merged = _merge(merged, _parse_override(override))
    return validate_settings(merged)


def override_settings(settings: RunSettings, overrides: Sequence[str]) -> RunSettings:
    """The settings with some replaced by `section.name=value` texts."""
    merged: dict[str, Any] = settings.model_dump(mode="json", exclude_none=True)
    for override in overrides:
        merged = _merge(merged, _parse_override(override))
    return validate_settings(merged)


def replace_settings(settings: RunSettings, values: Mapping[str, Any]) -> RunSettings:
    """The settings with some replaced, each by its dotted name.

    >>> replace_settings(RunSettings(), {"training.epochs": 3}).training.epochs
    3
    """
    merged: dict[str, Any] = settings.model_dump(mode="json", exclude_none=True)
    for name, value in values.items():
        merged = _merge(merged, _nest(name, value))
    return validate_settings(merged)


def validate_settings(values: Mapping[str, Any]) -> RunSettings:
    """The settings, or a SettingsError that names the first that does not fit."""
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"{name} is not a setting{_nearest(name)}") from error
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name}: {message}, got {shown(first['input'])}") from error
    except RecursionError as error:
        raise SettingsError(
            "settings may not lie in so many tables; see docs/settings.md"
        ) from error


def _nearest(name: str) -> str:
    """What was probably meant, and where all settings stand."""
    known = list(_flatten(RunSettings().model_dump(mode="json")))
    meant = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {meant[0]}? See docs/settings.md" if meant else "; see docs/settings.md"


def read_settings(path: Path) -> RunSettings:
    """The settings a run was made with."""
    return validate_settings(_read_toml(path))


def changed_settings(before: RunSettings, after: RunSettings) -> list[str]:
    """The settings that differ and matter to the result, as "name: before -> after"."""
    flat_before, flat_after = (
        _flatten(settings.model_dump(mode="json", exclude={"cache"}))
        for settings in (before, after)
    )
    return [
        f"{name}: {flat_before[name]} -> {flat_after[name]}"
        for name in flat_before
        if flat_before[name] != flat_after[name]
    ]


def _read_preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise SettingsError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    text = resources.files("mitosam").joinpath(f"presets/{name}.toml").read_text("utf-8")
    return tomllib.loads(text)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, error=SettingsError))
    except SettingsError:
        raise
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path} does not exist") from error
    except (ValueError, OSError, RecursionError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}") from error


def _parse_override(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"--set needs section.name=value, got {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    return _nest(name.strip(), parsed)


def _nest(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    """The value in tables that the parts of a dotted name call."""
    nested: Any = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for name, value in second.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merge(merged[name], value) if both else value
    return merged


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
