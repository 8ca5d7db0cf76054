"""Fetch a public data set and write the manifest that names its volumes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import tomli_w

from mitosam.data.archives import unpack_members
from mitosam.data.catalogue import KnownSet, RemoteFile, known_set
from mitosam.data.downloads import fetch_file
from mitosam.errors import DownloadError, OutputExistsError, SettingsError
from mitosam.progress import SILENT, Progress
from mitosam.storage import sole_writer, write_text

MANIFEST, DOWNLOADS, CHECKSUMS = "dataset.toml", "downloads", "SHA256SUMS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A data set that lies on this machine."""

    known: KnownSet
    manifest: Path


def fetch_dataset(
    name: str,
    out: Path,
    *,
    accept_licence: bool = False,
    source: str | None = None,
    progress: Progress = SILENT,
) -> Fetched:
    """Fetch the files of a set to `out`, unpack them, and write `dataset.toml`.

    Files that already lie where they belong are taken after their checksum was compared, so that
    they can be brought there by hand. Run again, it goes on where it was stopped.

    Parameters
    ----------
    accept_licence
        That the licence was read and is accepted; nothing is fetched without.
    source
        A folder or an address that holds the files by their names, to be asked instead.

    Raises
    ------
    SettingsError
        The set is not known, cannot be used as it is, or its licence is not accepted.
    DownloadError
        A file could not be fetched; the message says what to put where by hand.
    InputError
        A file is not what it should be.
    OutputExistsError
        `out` holds another manifest.
    """
    known = known_set(name)
    if not known.is_fetchable:
        raise SettingsError(f"{known.name} is not fetched by this command. {known.note}")
    if not accept_licence:
        raise SettingsError(
            f"the licence of {known.name} is: {known.licence} ({known.page}); "
            "pass --accept-licence if you accept it"
        )
    manifest = out / MANIFEST
    with sole_writer(out):
        _check_manifest(manifest, known)
        _fetch_files(known, out, source, progress)
        for file in known.file:
            _unpack(file, out, progress)
        write_text(manifest, manifest_text(known))
    return Fetched(known=known, manifest=manifest)


def manifest_text(known: KnownSet) -> str:
    """The set's manifest, ready to train with."""
    facts: dict[str, Any] = {
        "title": known.title,
        "citation": known.citation + (f", doi {known.doi}" if known.doi else ""),
        "licence": known.licence,
        "url": known.page,
        "volume": [
            volume.model_dump(mode="json", exclude_defaults=True) for volume in known.volume
        ],
    }
    return f"# Written by `mitosam data fetch {known.name}`.\n{tomli_w.dumps(facts)}"


def describe_by_hand(known: KnownSet, out: Path) -> str:
    """What to download, and where to put it."""
    wanted = [f"  {file.url}\n    as {place_of(file, out)}" for file in known.file]
    return "\n".join(
        [
            f"To bring {known.name} here by hand, download on another machine",
            *wanted,
            "and run the same command again.",
        ]
    )


def _check_manifest(path: Path, known: KnownSet) -> None:
    if path.exists() and path.read_text("utf-8", errors="replace") != manifest_text(known):
        raise OutputExistsError(
            f"{path} exists already and says something else; choose another --out"
        )


def place_of(file: RemoteFile, out: Path) -> Path:
    """Where a file belongs: archives in a folder of their own, others beside the manifest."""
    return (out / DOWNLOADS if file.unpack else out) / file.name


def _fetch_files(known: KnownSet, out: Path, source: str | None, progress: Progress) -> None:
    sums = _read_sums(out / CHECKSUMS)
    for file in known.file:
        path = place_of(file, out)
        expected = file.sha256 or sums.get(file.name)
        url = _url_of(file, source)
        try:
            found = fetch_file(url, path, sha256=expected, progress=progress)
        except DownloadError as error:
            progress.say(describe_by_hand(known, out))
            raise DownloadError(f"{error}. What to put where by hand is said above") from error
        if file.size_bytes not in (None, path.stat().st_size) and not file.sha256:
            progress.say(
                f"{path} has {path.stat().st_size} bytes, {file.size_bytes} were published"
            )
        if file.name not in sums:
            sums[file.name] = found
            _write_sums(out / CHECKSUMS, sums)
            if not file.sha256:
                progress.say(f"{file.name}: no checksum is published; its sha256 is {found}")


def _url_of(file: RemoteFile, source: str | None) -> str:
    if source is None:
        return file.url
    if urlparse(source).scheme in ("http", "https", "file"):
        return f"{source.rstrip('/')}/{file.name}"
    return (Path(source).resolve() / file.name).as_uri()


def _read_sums(path: Path) -> dict[str, str]:
    """File names and their checksums, as `sha256sum` writes and reads them."""
    if not path.exists():
        return {}
    text = path.read_text("utf-8", errors="replace")
    lines = [re.fullmatch(r"([0-9a-f]{64})  (\S+)", line) for line in text.split("\n")]
    return {line[2]: line[1] for line in lines if line}


def _write_sums(path: Path, sums: dict[str, str]) -> None:
    write_text(path, "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()))


def _unpack(file: RemoteFile, out: Path, progress: Progress) -> None:
    for part in file.unpack:
        folder = out / part.folder
        # A folder that holds something is whole; an empty one is what a killed start left.
        if not folder.exists() or not any(folder.iterdir()):
            unpack_members(place_of(file, out), part.members, folder, progress=progress)
