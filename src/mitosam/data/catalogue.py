"""The public data sets with annotated mitochondria that mitosam knows by name."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mitosam.data.manifest import Length, Sha256, VolumeEntry
from mitosam.errors import SettingsError

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
UNVERIFIED = "checksum: none published; recorded at the first download"


class Unpacking(BaseModel):
    """Which members of an archive go where."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    members: str
    """A pattern of their names, as the shell's: `im/*.png`."""
    folder: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$")
    """The folder they come to lie in, without the folders of the archive."""


class RemoteFile(BaseModel):
    """One file to fetch."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str = Field(pattern=r"^https?://")
    name: FileName
    """What it is called here."""
    size_bytes: int | None = Field(default=None, gt=0)
    """Where it is published."""
    sha256: Sha256 | None = None
    """Where one is published."""
    checksum_by: str = ""
    """Who published it."""
    unpack: tuple[Unpacking, ...] = ()
    """Of a zip archive: what becomes of its members."""

    @property
    def checksum(self) -> str:
        """The checksum and who published it, in words."""
        return f"sha256 {self.sha256} ({self.checksum_by})" if self.sha256 else UNVERIFIED


class KnownSet(BaseModel):
    """One public data set."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """What `mitosam data fetch` calls it."""
    title: str
    about: str
    voxel_size_nm: tuple[Length, Length, Length] | None = None
    """z, y, x, where a source says it."""
    shape_zyx: tuple[int, int, int] | None = None
    """Sections, rows and columns of each volume that has masks."""
    num_volumes: int | None = None
    labels: Literal["binary", "instances"]
    licence: str
    citation: str
    doi: str = ""
    page: str
    """What its authors say of it."""
    note: str = ""
    """What must be done by hand, or known."""
    file: tuple[RemoteFile, ...] = ()
    volume: tuple[VolumeEntry, ...] = ()
    """What of its files a manifest names; nothing where they cannot be read as they are."""

    @property
    def is_fetchable(self) -> bool:
        """Whether `mitosam data fetch` makes a manifest of it."""
        return bool(self.file and self.volume)


class _Catalogue(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    set: tuple[KnownSet, ...]


@cache
def read_catalogue() -> tuple[KnownSet, ...]:
    """All sets, as `data/catalogue.toml` of the package lists them."""
    text = resources.files("mitosam").joinpath("data/catalogue.toml").read_text("utf-8")
    return _Catalogue.model_validate(tomllib.loads(text)).set


def known_set(name: str) -> KnownSet:
    """The set of that name, in any case.

    Raises
    ------
    SettingsError
        There is none; a name like it is named.
    """
    known = {one.name: one for one in read_catalogue()}
    if name.lower() in known:
        return known[name.lower()]
    meant = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {meant[0]}?" if meant else "`mitosam data list` names them all"
    raise SettingsError(f"{name} is not a data set that mitosam knows; {hint}")
