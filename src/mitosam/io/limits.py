"""How much a file may ask for: every limit in one place, each raised by an environment variable.

A small file can declare, or unpack to, more than any memory holds. What real data sets ask for lies
far below these limits; docs/security.md lists them.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitosam.errors import InputError, MitosamError, SettingsError

_UNITS = {"GB": 2**30, "MB": 2**20, "": 1}
_ENDLESS = 2.0**62
"""What no limit is: a number of bytes and of pages that the formats can still be asked for."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The most of something that a file may ask for, in `unit`s, unless `variable` says more."""

    variable: str
    default: float
    unit: str
    of: str

    @property
    def most(self) -> float:
        """The limit in bytes, or in whatever is counted; "inf" is none.

        Raises
        ------
        SettingsError
            The variable holds no number above 0.
        """
        text = os.environ.get(self.variable, "")
        try:
            value = float(text) if text else self.default
        except ValueError:
            value = math.nan
        if not value > 0:
            raise SettingsError(f"{self.variable} must be a number above 0, got {text!r}")
        return min(value * _UNITS[self.unit], _ENDLESS)

    def check(self, what: object, amount: float, *, error: type[MitosamError] = InputError) -> None:
        """Raise `error` if `what` asks for more."""
        if amount <= self.most:
            return
        unit = _UNITS[self.unit]
        raise error(
            f"{what}: {self.of} may have at most {self.most / unit:g} {self.unit}".rstrip()
            + f", got {amount / unit:.4g}; if you trust where it comes from, set "
            f"{self.variable}={math.ceil(amount / unit)}"
        )


SECTION = Limit("MITOSAM_MAX_SECTION_GB", 16, "GB", "a section that is read whole")
"""100,000 x 100,000 pixels of 8 bits are 9.3 GB."""
CHUNK = Limit("MITOSAM_MAX_CHUNK_GB", 2, "GB", "one unpacked chunk, tile or strip")
"""512 x 512 x 512 voxels of 64 bits are 1 GB."""
EXPANSION = Limit("MITOSAM_MAX_EXPANSION", 200, "", "each byte of an image above 1 GB, unpacked,")
"""Of images that unpack to more than `FREE_BYTES`; EM packs 1 to 4 times, full masks 20 to 100."""
PAGES = Limit("MITOSAM_MAX_PAGES", 1_000_000, "", "the sections of a file")
TEXT = Limit("MITOSAM_MAX_TEXT_MB", 8, "MB", "a file of settings, metadata or prompts")
TABLE = Limit("MITOSAM_MAX_TABLE_MB", 256, "MB", "a table")
HEADER = Limit("MITOSAM_MAX_HEADER_MB", 16, "MB", "the header of a safetensors file")

LIMITS = (SECTION, CHUNK, EXPANSION, PAGES, TEXT, TABLE, HEADER)
FREE_BYTES = 2**30
_SMALL_BYTES = 2**26


def check_image(what: object, unpacked: int, packed: int, most_possible: float = math.inf) -> None:
    """Raise InputError if an image is larger than a section may be, or its file cannot hold it.

    `most_possible` is how many bytes the compression can make of one; what is beyond that by far is
    damage, however it came about.
    """
    SECTION.check(what, unpacked)
    if unpacked > _SMALL_BYTES + most_possible * packed:
        raise InputError(
            f"{what} says that it holds {unpacked / 2**20:.0f} MB of pixels, which its "
            f"{packed} bytes cannot; copy it again from its source"
        )
    if unpacked > FREE_BYTES:
        EXPANSION.check(what, unpacked / max(packed, 1))


def read_json(path: Path, *, error: type[MitosamError] = InputError, way_out: str = "") -> Any:  # noqa: ANN401
    """What a JSON file holds; `error`, with the `way_out`, if it is damaged or too large.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    try:
        return json.loads(read_text(path, error=error))
    except (FileNotFoundError, MitosamError):
        raise
    except (OSError, ValueError, RecursionError) as cause:
        reason = str(cause)[:200]
        raise error(f"{path} is damaged ({reason}); {way_out or 'make it anew'}") from cause


def read_text(
    path: Path,
    *,
    limit: Limit = TEXT,
    error: type[MitosamError] = InputError,
    encoding: str = "utf-8",
) -> str:
    """A file's text; `error` if the file is larger than the limit.

    Raises
    ------
    OSError, UnicodeDecodeError
        As reading does.
    """
    limit.check(path, path.stat().st_size, error=error)
    return path.read_text(encoding=encoding)
