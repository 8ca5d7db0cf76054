"""Sections segmented for a session have the labels of `mitosam segment`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mitosam.data.phantom import make_phantom
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.io.open import open_volume
from mitosam.ui.session.automatic import segment_sections
from mitosam.ui.session.jobs import Stopped, Work, WorkProgress
from mitosam.ui.session.model import SessionModel
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.segment import segment
from tests.tiny_runs import VOXEL_SIZE_NM, short_settings, write_phantom
from tests.tiny_segmenter import THRESHOLDS

SHAPE = (5, 64, 80)


@pytest.fixture(scope="module")
def images():
    return make_phantom(SHAPE, 3, VOXEL_SIZE_NM).images


@pytest.fixture(scope="module")
def model(base_model, tuned) -> SessionModel:
    return SessionModel.load(tuned, short_settings(base_model))


def told(model: SessionModel, settings: InstanceSettings) -> SessionModel:
    """The same model with other thresholds."""
    info = AutomaticInfo(instances={"head": settings})
    return replace(model, segmenter=model.segmenter.with_info(info))


def run(model, images, sections: range, *more, method="head"):
    return segment_sections(model.segmenter, images.__getitem__, SHAPE, sections, method, *more)


def test_a_whole_volume_has_the_labels_of_mitosam_segment(
    tmp_path, base_model, tuned, model, images
):
    source = write_phantom(tmp_path / "em", shape_zyx=SHAPE)
    expected = segment(
        source.images, tmp_path / "out", model=tuned, settings=short_settings(base_model)
    )
    found = run(model, images, range(5))
    labels = np.stack([found.labels[z] for z in range(5)])
    assert np.array_equal(labels, np.stack(list(open_volume(expected.labels).sections())))
    assert len(np.unique(labels)) > 3


def test_ids_continue_across_sections_and_each_has_a_confidence(model, images):
    linking = THRESHOLDS.model_copy(update={"boundary_threshold": 1, "link_overlap": 0})
    found = run(told(model, linking), images, range(1, 4))
    assert list(found.labels) == [1, 2, 3]
    ids = [set(np.unique(labels)) - {0} for labels in found.labels.values()]
    assert set.union(*ids) == set(found.confidence)
    assert ids[0] & ids[1]
    assert all(0 < value <= 1 for value in found.confidence.values())


def test_one_section_is_labelled_by_areas_as_an_image_of_its_own_is(model, images):
    picky = told(model, THRESHOLDS.model_copy(update={"min_volume_voxels": 10**6}))
    assert run(picky, images, range(2, 3)).confidence
    assert not run(picky, images, range(2, 4)).confidence


def test_the_decoder_and_a_grid_may_be_asked_instead_of_the_head(base_model, tuned, images):
    few = ("grid.points_per_side=2", "grid.pred_iou_thresh=0", "grid.stability_score_thresh=0")
    model = SessionModel.load(tuned, short_settings(base_model, *few))
    head, prompted, grid = (
        np.stack(list(run(model, images, range(2), method=method).labels.values()))
        for method in ("head", "prompted", "grid")
    )
    assert not np.array_equal(head, prompted)
    assert not np.array_equal(head, grid)


def test_a_job_that_is_to_stop_does_so_and_leaves_nothing(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    work = Work()
    work.stop()
    with pytest.raises(Stopped):
        run(model, images, range(5), WorkProgress(work))
    assert not list(tmp_path.iterdir())
