"""A data set: a TOML file that names volumes, their masks, and what each is for."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mitosam.errors import InputError, InputNotFoundError, shown
from mitosam.io.place import Place

SUFFIX = ".toml"
MAX_BYTES = 4 << 20
"""Of a manifest: thousands of volumes; more is no manifest."""

Use = Literal["train", "validation", "test"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
VolumeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=60)]


class Ranges(BaseModel):
    """Which sections of one volume train, validate and test, counted from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    train: str = ""
    """As "1-104" or "1-20,40"; may stay empty, as each of them may."""
    validation: str = ""
    """Sections that choose the best step."""
    test: str = ""
    """Sections to report on; leave a gap of some sections before them."""

    @model_validator(mode="after")
    def _check(self) -> Ranges:
        if not (self.train or self.validation or self.test):
            raise ValueError("split must name the sections of train, validation or test")
        return self


class VolumeEntry(BaseModel):
    """One volume with its masks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: VolumeName
    """What scores and reports call it: letters, digits and . _ + -, another one for each volume."""
    images: Path
    """The EM images, from the manifest's folder on: a stack, an OME-Zarr, a folder of sections."""
    masks: Path
    """The masks of the same sections."""
    voxel_size_nm: tuple[Length, Length, Length] | None = None
    """z, y, x, where the files do not say it, or say it wrongly."""
    use: Use | None = None
    """What all of its sections are for."""
    split: Ranges | None = None
    """What some of its sections are for, instead; without both the run's [split] cuts it."""
    mask_value: int | None = Field(default=None, ge=1, lt=2**63)
    """The only value of the masks that is mitochondria, where there are others besides 0."""
    licence: str = ""
    """On what terms it may be used."""
    citation: str = ""
    """What to cite."""
    url: str = ""
    """Where it comes from. Nothing is fetched from there."""
    images_sha256: Sha256 | None = None
    """What `sha256sum` says of the images, if they are one file; compared before they are used."""
    masks_sha256: Sha256 | None = None
    """The same of the masks."""

    @model_validator(mode="after")
    def _check(self) -> VolumeEntry:
        if self.use and self.split:
            raise ValueError("use is for all sections and split for some; give only one of them")
        return self


class Manifest(BaseModel):
    """What a manifest holds; `read_manifest` makes its paths whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    title: str = ""
    """What the data set is."""
    citation: str = ""
    """What to cite."""
    licence: str = ""
    """On what terms it may be used, where its volumes do not say otherwise."""
    url: str = ""
    """Where it comes from."""
    common_pixel_nm: Length | None = None
    """Scale all sections to this pixel size; `data.common_pixel_nm` of the run comes before it."""
    volume: tuple[VolumeEntry, ...] = Field(min_length=1)
    """The volumes, each under a heading [[volume]]."""

    @model_validator(mode="after")
    def _check(self) -> Manifest:
        names = [entry.name.lower() for entry in self.volume]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"each volume needs a name of its own, but two are called {twice}")
        return self


def is_manifest(place: Place) -> TypeGuard[Path]:
    """Whether a path names a manifest, by its suffix."""
    return isinstance(place, Path) and place.suffix.lower() == SUFFIX


def read_manifest(path: Path, *, allow_outside: bool = False) -> Manifest:
    """The manifest with whole paths, all of them inside its folder unless `allow_outside`.

    A manifest may come from a stranger, so neither an absolute path, nor "..", nor a link may lead
    out of its folder, unless its user has said that they may.

    Raises
    ------
    InputNotFoundError
        There is no such file.
    InputError
        It is no manifest; the line is named where it is known. Or a path leads out of its folder.
    """
    text = _read_text(path)
    try:
        manifest = Manifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    except ValidationError as error:
        raise InputError(_explain(path, text, error)) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, endless lists
        raise InputError(f"{path} is no manifest: {error}") from error
    folder = path.parent
    entries = []
    for number, entry in enumerate(manifest.volume):
        whole = {
            key: _whole_path(folder, getattr(entry, key), allow_outside=allow_outside)
            for key in ("images", "masks")
        }
        for key, found in whole.items():
            if isinstance(found, str):
                place = _place(text, ("volume", number, key))
                raise InputError(f"{path}{place}: {key} of {entry.name} {found}")
        entries.append(entry.model_copy(update=whole))
    return manifest.model_copy(update={"volume": tuple(entries)})


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB, so it is no manifest")
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        raise InputNotFoundError(
            f"{path} does not exist; check the spelling of the path"
        ) from error
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} cannot be read as a manifest: {error}") from error


def _whole_path(folder: Path, given: Path, *, allow_outside: bool) -> Path | str:
    """The path from the folder on, or what is wrong with it."""
    text = str(given)
    if "\0" in text or "://" in text or re.match(r"^[a-z0-9]{2,}:/", text):
        return f"must be a path on this machine, got {text!r}; fetch it first"
    if allow_outside:
        return folder / given
    remedy = "pass --allow-outside if you trust this manifest"
    if given.is_absolute():
        return f"is the absolute path {given}; {remedy}"
    whole, inside = folder / given, folder.resolve()
    if not whole.resolve().is_relative_to(inside):
        return f"leads out of the manifest's folder ({given}); {remedy}"
    astray = next(
        (link for link in _links(whole) if not link.resolve().is_relative_to(inside)), None
    )
    if astray:
        return f"holds a link out of the manifest's folder ({astray.relative_to(folder)}); {remedy}"
    return whole


def _links(path: Path) -> Iterator[Path]:
    """All links in a folder, whatever they point at."""
    for parent, folders, files in os.walk(path):
        yield from (
            Path(parent, name) for name in (*folders, *files) if Path(parent, name).is_symlink()
        )


def _explain(path: Path, text: str, error: ValidationError) -> str:
    """The first thing that is wrong, its key and its line."""
    first = error.errors()[0]
    where = tuple(first["loc"])
    name = ".".join(str(part + 1) if isinstance(part, int) else part for part in where)
    place = _place(text, where)
    if first["type"] == "extra_forbidden":
        return f"{path}{place}: {name} is not a key of a manifest{_nearest(where)}"
    if first["type"] == "missing":
        return f"{path}{place}: {name} is missing; see docs/datasets.md"
    message = first["msg"].removeprefix("Value error, ")
    got = "" if isinstance(first["input"], dict) else f", got {shown(first['input'])}"
    return f"{path}{place}: {name + ': ' if name else ''}{message}{got}"


def _nearest(where: tuple[str | int, ...]) -> str:
    known: dict[str, Any] = dict(Manifest.model_fields)
    if where[0] == "volume":
        known = dict(Ranges.model_fields if "split" in where[:-1] else VolumeEntry.model_fields)
    meant = difflib.get_close_matches(str(where[-1]), known, n=1)
    return f", did you mean {meant[0]}?" if meant else f"; there are {', '.join(known)}"


def _place(text: str, where: tuple[str | int, ...]) -> str:
    r"""The line of a key, as far as a search of the text tells; TOML's reader keeps none.

    >>> _place('title = "a"\n[[volume]]\nname = "b"', ("volume", 0, "name"))
    ', line 3'
    """
    lines = text.splitlines()
    first, last = 0, len(lines)
    keys = [part for part in where if isinstance(part, str)]
    if len(where) > 1 and where[0] == "volume" and isinstance(where[1], int):
        heads = [n for n, line in enumerate(lines) if re.match(r"\s*\[\[\s*volume\s*\]\]", line)]
        if where[1] >= len(heads):
            return ""
        first = heads[where[1]]
        last = (*heads, last)[where[1] + 1]
        keys = keys[1:]
    for key in reversed(keys):
        for number in range(first, last):
            if re.match(rf"\s*(\[\[?[\w.]*)?{re.escape(key)}\b", lines[number]):
                return f", line {number + 1}"
    return f", line {first + 1}" if keys or first else ""
