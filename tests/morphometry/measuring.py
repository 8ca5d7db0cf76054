"""Arrays measured as files are, in one block or in many."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import fields
from pathlib import Path

from mitosam.io.volume import volume_of_array
from mitosam.morphometry.block_grid import BlockGrid
from mitosam.morphometry.sections import SectionRow
from mitosam.workflows.measure_blocks import measure_volume

SIZE = (30.0, 8.0, 5.0)


def measured(labels, size=SIZE, probability=None, *, cuts=None, **options):
    """The rows of instances and of sections; `cuts` are where z, y and x are cut."""
    volume = volume_of_array("labels", labels)
    trust = volume_of_array("trust", probability) if probability is not None else None
    with tempfile.TemporaryDirectory() as folder:
        found = measure_volume(
            lambda: volume,
            Path(folder) / "sections.csv",
            size,
            (lambda: trust) if trust else None,
            scratch=Path(folder),
            grid=grid_of(labels.shape, cuts) if cuts else None,
            **options,
        )
        return found.instances, read_rows(Path(folder) / "sections.csv")


def grid_of(shape_zyx, cuts):
    edges = [
        tuple(sorted({0, n, *(c for c in at if c < n)}))
        for n, at in zip(shape_zyx, cuts, strict=True)
    ]
    return BlockGrid(tuple(edges))


def read_rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [
            SectionRow(**{f.name: value_of(row[f.name], f.type) for f in fields(SectionRow)})
            for row in csv.DictReader(file)
        ]


def value_of(text, kind):
    return int(text) if kind == "int" else float(text or "nan")
