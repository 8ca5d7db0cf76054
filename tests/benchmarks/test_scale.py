from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.scale_page import to_markdown
from benchmarks.scale_runs import Found, Growth, Run, Sharing, marginal_cpu_s
from benchmarks.scale_subject import (
    CELL_PX,
    CORNER_YX,
    NUM_SECTIONS,
    PERIOD,
    TISSUE_ZYX,
    gigavoxels,
    write_volume,
)
from benchmarks.spread import Spread
from mitosam.geometry import Box
from mitosam.io.open import open_volume


def run(seconds: float, cpu_s: float) -> Run:
    return Run(
        seconds=Spread.of([seconds]),
        cpu_s=Spread.of([cpu_s]),
        stages_s={"segmenting": seconds},
        peak_bytes=1_500_000_000,
        num_instances=7,
    )


def test_every_cell_is_the_same_and_what_is_empty_is_not_on_the_disk(tmp_path):
    path = tmp_path / "v.ome.zarr"
    write_volume(path, 2)
    volume = open_volume(path)
    assert volume.shape_zyx == (NUM_SECTIONS, 2 * CELL_PX, 2 * CELL_PX)
    first = volume.box(Box((0, 0, 0), (NUM_SECTIONS, CELL_PX, CELL_PX)))
    last = volume.box(Box((0, CELL_PX, CELL_PX), volume.shape_zyx))
    assert np.array_equal(first, last)
    held = np.flatnonzero(first.any(axis=(1, 2)))
    assert len(held) == TISSUE_ZYX[0]
    assert set(held // PERIOD) == set(range(NUM_SECTIONS // PERIOD))  # so in every block
    y, x = (slice(c, c + n) for c, n in zip(CORNER_YX, TISSUE_ZYX[1:], strict=True))
    assert first[held, y, x].std() > 10
    first[held, y, x] = 0
    assert not first.any()
    stored = sum(file.stat().st_size for file in path.rglob("*"))
    assert stored < 2 * 4 * np.prod(TISSUE_ZYX)


def test_what_is_done_once_is_no_part_of_a_further_gigavoxel():
    growth = [Growth(gigavoxels=size, run=run(9, 20 + 100 * size)) for size in (0.05, 0.2, 0.8)]
    assert marginal_cpu_s(growth) == pytest.approx(100)
    assert gigavoxels(1) == pytest.approx(0.0503, abs=1e-4)


def test_the_page_gives_ratios_and_cost():
    found = Found(
        date="2026-11-23",
        command="python -m benchmarks.scale",
        machine="a machine",
        load=0.1,
        threads=2,
        growth=[Growth(gigavoxels=0.1, run=run(30, 50)), Growth(gigavoxels=1.1, run=run(210, 410))],
        sharing=Sharing(
            gigavoxels=0.2,
            roomy=run(50, 80),
            blocks=run(55, 100),
            one_thread=run(99, 98),
            two_workers=run(55, 104),
            bounded_gb=2,
            roomy_gb=16,
        ),
    )
    page = to_markdown(found)
    assert "| 1.10 | 210 | 191 | 373 | 7 | 1.50 |" in page
    assert "takes **360 processor seconds**" in page
    assert "**0.004 USD**" in page
    assert "1/28 of the volume" in page
    assert "took **1.25 times the processor time**" in page
    assert "**1.80 times as fast as one**" in page
    assert "1.00 times as fast as one process with all" in page
    json.dumps(asdict(found))
