from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import point_grid, segment_subject, segmenting
from benchmarks.page import table
from benchmarks.segment import Grid, MemoryAtDepth, SegmentAnswer, Segmented
from benchmarks.segment_page import segment_part
from benchmarks.spread import Spread
from mitosam.inference.instances import label_maps


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("bench") / "segment")
    segment_subject.measure(
        folder=folder, images=None, masks=None, sizes=[2], phantom_yx=(128, 160)
    )
    return folder


@pytest.mark.parametrize("way", ["prompted", "U-Net"])
def test_stages_add_up_to_the_whole_and_nothing_stays_replaced(folder, way):
    before = [getattr(owner, name) for owner, name in segmenting.STAGES]
    answer = segmenting.measure(folder=folder, way=way, num_sections=2)
    assert sum(answer["stages_s"].values()) == pytest.approx(answer["total_s"], rel=0.01)
    assert (segmenting.ENCODING in answer["stages_s"]) == (way != "U-Net")
    assert answer["num_instances"] > 0
    assert [getattr(owner, name) for owner, name in segmenting.STAGES] == before
    json.dumps(answer)


def test_a_grid_is_timed_by_the_tile(folder, monkeypatch):
    few = point_grid.PointGridSettings(points_per_side=2)
    monkeypatch.setattr(point_grid, "PointGridSettings", lambda: few)
    answer = point_grid.measure(folder=folder, num_sections=2, warmup=0, tiles=1)
    assert len(answer["tile_s"]) == answer["tiles_per_section"] == 1


def test_maps_of_truth_give_the_true_instances_back():
    masks = np.zeros((60, 90), np.uint8)
    masks[5:30, 5:40] = 255
    masks[32:55, 45:85] = 255
    labels = label_maps(
        [segment_subject.maps_of_truth(masks)] * 3, segment_subject.instance_settings()
    )
    assert labels.max() == 2
    overlap = (labels[1] > 0) & (masks > 0)
    assert overlap.sum() > 0.95 * ((labels[1] > 0) | (masks > 0)).sum()


def segmented(way: str, total_s: float, encoding_s: float) -> Segmented:
    return Segmented(
        way=way,
        num_sections=10,
        num_instances=7,
        total_s=Spread.of([total_s]),
        stages_s={segmenting.ENCODING: encoding_s, "network": total_s - encoding_s},
        peak_bytes=2_000_000_000,
    )


def test_the_page_says_whether_the_targets_were_reached():
    found = SegmentAnswer(
        subject="stack",
        shape_yx=(1000, 1000),
        ways=[segmented("head", 12, 10), segmented("prompted", 20, 10)],
        grid=Grid(tile_s=Spread.of([2.0]), tiles_per_section=6, peak_bytes=1_000_000_000),
        memory=[MemoryAtDepth(num_sections=8, peak_bytes=900_000_000)],
    )
    page = segment_part(found, table)
    assert "| head | 1.2 | 50 | 1200 | 7 | 2.00 |" in page
    assert "| point grid, extrapolated | 12 | 5 | 12000 |  | 1.00 |" in page
    assert "head: **1.20 times its own encoding** (target at most 1.5: reached)" in page
    assert "head: **1/10 of the point grid's time** (target at most 1/10: reached)" in page
    assert "prompted: **2.00 times its own encoding** (target at most 1.5: missed)" in page
    assert "prompted: **1/6 of the point grid's time** (target at most 1/10: missed)" in page
    assert "| 8 | 0.90 |" in page
    json.dumps(asdict(found))
