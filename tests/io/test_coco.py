"""COCO JSON: what is read back is what was written."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mitosam.io.coco import run_lengths, write_coco


def decoded(segmentation):
    """A mask again, as the format's description tells."""
    height, width = segmentation["size"]
    values = np.arange(len(segmentation["counts"])) % 2
    return np.repeat(values, segmentation["counts"]).reshape((height, width), order="F") == 1


@given(arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_runs_give_the_mask_back(mask):
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    assert all(counts[1:])
    np.testing.assert_array_equal(decoded({"size": mask.shape, "counts": counts}), mask)


def test_every_instance_of_every_section_is_there(tmp_path):
    first = np.zeros((5, 7), np.uint32)
    first[1:3, 2:6] = 4
    first[4, 0] = 70_000
    second = np.zeros((5, 7), np.uint32)
    second[0, 0] = 4
    path = tmp_path / "labels.json"
    write_coco(path, [("a.png", first), ("empty", first * 0), ("b.png", second)])
    found = json.loads(path.read_text())
    assert [image["file_name"] for image in found["images"]] == ["a.png", "empty", "b.png"]
    rows = found["annotations"]
    assert [(row["id"], row["image_id"], row["instance_id"]) for row in rows] == [
        (1, 1, 4),
        (2, 1, 70_000),
        (3, 3, 4),
    ]
    assert rows[0]["bbox"] == [2, 1, 4, 2]
    assert rows[0]["area"] == 8
    np.testing.assert_array_equal(decoded(rows[0]["segmentation"]), first == 4)
    assert {row["category_id"] for row in rows} == {found["categories"][0]["id"]}


def test_labels_without_instances_are_whole_json(tmp_path):
    write_coco(tmp_path / "empty.json", [("a", np.zeros((2, 2), np.uint32))])
    assert json.loads((tmp_path / "empty.json").read_text())["annotations"] == []
