"""Public data sets on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mitosam.cli.screen import readable_bytes
from mitosam.cli.show import print_line, print_table, show_facts
from mitosam.data.catalogue import KnownSet


def show_sets(console: Console, sets: Sequence[KnownSet]) -> None:
    """A line a set, then how to go on."""
    table = Table("name", "what", "voxels (nm)", "labels", "licence", "fetched")
    for one in sets:
        table.add_row(
            one.name,
            one.title,
            voxels_of(one) or "?",
            one.labels,
            one.licence,
            "yes" if one.is_fetchable else "by hand",
        )
    print_table(console, table)
    print_line(console, "citation, page and checksums: mitosam data list --json")
    print_line(console, "next: mitosam data fetch NAME --out FOLDER")


def voxels_of(known: KnownSet) -> str:
    """The voxel size, z first."""
    return " x ".join(f"{size:g}" for size in known.voxel_size_nm or ())


def show_terms(console: Console, known: KnownSet) -> None:
    """What a set is, whose it is and on what terms, before anything is fetched."""
    sizes = [file.size_bytes for file in known.file if file.size_bytes]
    facts = {
        "set": known.title,
        "licence": known.licence,
        "cite": known.citation + (f", doi {known.doi}" if known.doi else ""),
        "page": known.page,
    }
    if len(sizes) == len(known.file):
        facts["size"] = readable_bytes(sum(sizes))
    for file in known.file:
        facts[file.name] = file.checksum
    if known.note:
        facts["note"] = known.note
    show_facts(console, facts)
