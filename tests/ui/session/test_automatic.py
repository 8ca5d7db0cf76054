from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from mitosam.data.phantom import make_phantom
from mitosam.errors import InputError, ModelError, SettingsError
from mitosam.inference.instances import InstanceSettings
from mitosam.io.open import open_volume
from mitosam.ui.session.automatic import SectionSegmenter, mean_probabilities
from mitosam.ui.session.model import SessionModel
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.segment import segment
from tests.tiny_runs import VOXEL_SIZE_NM, short_settings, write_phantom
from tests.tiny_segmenter import THRESHOLDS
from tests.ui.session.conftest import until

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


class Taken(list):
    @property
    def labels(self) -> np.ndarray:
        return np.stack([section.labels for section in self])


def run(model, images, sections: range, **more) -> Taken:
    taken = Taken()
    with closing(SectionSegmenter(model.segmenter, images.__getitem__, SHAPE)) as segmenter:
        segmenter.start(sections, taken.append, **more)
        assert segmenter.wait(120)
        assert segmenter.state().error is None
    return taken


def test_a_whole_volume_has_the_labels_of_mitosam_segment(
    tmp_path, base_model, tuned, model, images
):
    source = write_phantom(tmp_path / "em", shape_zyx=SHAPE)
    assert np.array_equal(np.stack(list(open_volume(source.images).sections())), images)
    expected = segment(
        source.images, tmp_path / "out", model=tuned, settings=short_settings(base_model)
    )
    taken = run(model, images, range(5))
    assert [section.z for section in taken] == [0, 1, 2, 3, 4]
    assert taken.labels.dtype == np.int32
    assert np.array_equal(taken.labels, np.stack(list(open_volume(expected.labels).sections())))
    assert len(np.unique(taken.labels)) > 3


def test_ids_continue_across_the_sections_of_a_range_and_confidences_are_shares(model, images):
    linking = THRESHOLDS.model_copy(update={"boundary_threshold": 1, "link_overlap": 0})
    taken = run(told(model, linking), images, range(1, 4))
    assert [section.z for section in taken] == [1, 2, 3]
    for section in taken:
        assert set(section.confidences) == set(np.unique(section.labels)) - {0}
        assert all(0 < value <= 1 for value in section.confidences.values())
    assert set(taken[0].confidences) & set(taken[1].confidences)


def test_one_section_is_labelled_by_areas_as_an_image_of_its_own_is(model, images):
    picky = told(model, THRESHOLDS.model_copy(update={"min_volume_voxels": 10**6}))
    for sections, is_empty in ((range(2, 3), False), (range(2, 4), True)):
        taken = run(picky, images, sections)
        assert all((not section.confidences) == is_empty for section in taken)


def test_neighbours_outside_the_range_are_read(model, images):
    read = []
    segmenter = SectionSegmenter(model.segmenter, lambda z: (read.append(z), images[z])[1], SHAPE)
    with closing(segmenter):
        segmenter.start(range(2, 3), lambda section: None)
        assert segmenter.wait(120)
    assert sorted(read) == [1, 2, 3]


def test_the_decoder_and_a_grid_may_be_asked_instead_of_the_head(base_model, tuned, images):
    few = ("grid.points_per_side=2", "grid.pred_iou_thresh=0", "grid.stability_score_thresh=0")
    model = SessionModel.load(tuned, short_settings(base_model, *few))
    found = {m: run(model, images, range(2), method=m).labels for m in ("head", "prompted", "grid")}
    assert not np.array_equal(found["head"], found["prompted"])
    assert not np.array_equal(found["head"], found["grid"])


def test_a_model_without_head_says_what_would_help(base_model, images):
    model = SessionModel.load(base_model, short_settings(base_model))
    segmenter = SectionSegmenter(model.segmenter, images.__getitem__, SHAPE)
    with pytest.raises(
        ModelError, match=r"train one with `mitosam finetune`, or take --method grid"
    ):
        segmenter.start(range(1), lambda section: None)
    assert segmenter.state() is None


@pytest.mark.parametrize("sections", [range(0), range(4, 6), range(-1, 2), range(0, 4, 2)])
def test_sections_that_are_not_there_are_refused(model, images, sections):
    segmenter = SectionSegmenter(model.segmenter, images.__getitem__, SHAPE)
    with pytest.raises(InputError, match="must follow each other and lie in 0 to 4"):
        segmenter.start(sections, lambda section: None)


def test_it_says_where_it_is_and_leaves_nothing_on_the_disk(tmp_path, model, images):
    seen = []
    segmenter = SectionSegmenter(
        model.segmenter, images.__getitem__, SHAPE,
        scratch=tmp_path, changed=lambda: seen.append(segmenter.state()),
    )  # fmt: skip
    with closing(segmenter):
        assert segmenter.start(range(5), lambda section: None) == "head"
        assert segmenter.wait(120)
    found = list(dict.fromkeys((work.title, work.total) for work in seen))
    assert found == [
        ("segmenting (head)", 5),
        ("finding instances", 1),
        ("connecting instances", 1),
        ("taking over", 5),
    ]
    state = segmenter.state()
    assert (state.running, state.done, state.error) == (False, 5, None)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_before_the_labels_leaves_nothing_and_another_range_may_follow(
    tmp_path, model, images
):
    taken = Taken()

    def read(z: int) -> np.ndarray:
        if z == 3:
            segmenter.stop()
        return images[z]

    segmenter = SectionSegmenter(model.segmenter, read, SHAPE, scratch=tmp_path)
    with closing(segmenter):
        segmenter.start(range(5), taken.append)
        assert segmenter.wait(120)
        assert taken == []
        assert segmenter.state().error is None
        assert list(tmp_path.iterdir()) == []
        segmenter.start(range(2), taken.append)
        assert segmenter.wait(120)
        assert len(taken) == 2


def test_an_error_is_one_line_and_kept(model, images, caplog):
    def read(z: int) -> np.ndarray:
        raise InputError(f"section {z} is damaged")

    segmenter = SectionSegmenter(model.segmenter, read, SHAPE)
    with closing(segmenter):
        segmenter.start(range(2), lambda section: None)
        assert segmenter.wait(120)
        state = segmenter.state()
    assert (state.running, state.error) == (False, "section 0 is damaged")
    assert "segmenting failed: section 0 is damaged" in caplog.text


def test_one_range_at_a_time(model, images):
    begun, may_go_on = [], []

    def read(z: int) -> np.ndarray:
        begun.append(z)
        until(lambda: may_go_on)
        return images[z]

    segmenter = SectionSegmenter(model.segmenter, read, SHAPE)
    with closing(segmenter):
        segmenter.start(range(2), lambda section: None)
        until(lambda: begun)
        with pytest.raises(SettingsError, match="stop that first"):
            segmenter.start(range(2), lambda section: None)
        segmenter.stop()
        may_go_on.append(True)


def test_the_mean_probability_of_an_instance_is_that_of_its_pixels():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (20, 30)) * 1000
    foreground = rng.integers(0, 256, labels.shape).astype(np.uint8)
    found = mean_probabilities(labels, foreground)
    assert found == pytest.approx(
        {i: foreground[labels == i].mean() / 255 for i in (1000, 2000, 3000, 4000)}
    )
    assert mean_probabilities(np.zeros((2, 2), int), np.ones((2, 2), np.uint8)) == {}
