"""Where something lies: a path of this machine, or a URL that fsspec knows."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

_PROTOCOL = r"[A-Za-z][A-Za-z0-9+.-]+"  # one letter would be a drive of Windows
_URL = re.compile(rf"(?:{_PROTOCOL}::)*{_PROTOCOL}://")
_USER = re.compile(r"(?<=://)[^/?#\s'\"]*@")
_QUERY = re.compile(r"(?<=[^\s?])\?[^\s'\")]*")


@dataclass(frozen=True, slots=True)
class Url:
    """A URL, shown without what opens a store: no user and password, no query.

    >>> str(Url("https://ada:secret@host/a.zarr/?token=1"))
    'https://host/a.zarr'
    """

    text: str = field(repr=False)

    def __str__(self) -> str:
        return scrubbed(self.text).rstrip("/")

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    @property
    def name(self) -> str:
        """The last part of its path.

        >>> Url("s3://bucket/volumes/a.zarr/").name
        'a.zarr'
        """
        parts = urlsplit(str(self).partition("::")[0])
        return PurePosixPath(parts.path).name or parts.netloc

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of its name, with the dot."""
        return PurePosixPath(self.name).suffix


Place = Path | Url


def place_of(place: str | Place) -> Place:
    """The place that a text names; a `file://` URL is a path.

    >>> place_of("file:///data/a.tif")
    PosixPath('/data/a.tif')
    >>> place_of("s3://bucket/a.zarr")
    Url('s3://bucket/a.zarr')
    """
    if not isinstance(place, str):
        return place
    if place.lower().startswith("file://"):
        return Path(urllib.request.url2pathname(urlsplit(place).path))
    return Url(place) if _URL.match(place) else Path(place)


def absolute(place: Place) -> Place:
    """The same place for processes that stand in another folder."""
    return place.absolute() if isinstance(place, Path) else place


def scrubbed(text: str) -> str:
    """A text whose URLs have lost users, passwords and queries.

    >>> scrubbed("503, url='http://ada:x@host/a?sig=2'")
    "503, url='http://host/a'"
    """
    return _QUERY.sub("", _USER.sub("", text))
