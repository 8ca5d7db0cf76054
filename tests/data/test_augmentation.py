from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mitosam.data.artefacts import KINDS, NO_ARTEFACTS
from mitosam.data.augmentation import AugmentationSettings, random_view

ON = AugmentationSettings(blur_px=2, noise=15, strips=25, fold=0.7, dropout=0.3, scratches=3)
seeds = st.integers(0, 2**32)


def views(settings: AugmentationSettings, seed: int, count: int = 200):
    rng = np.random.default_rng(seed)
    return [random_view(rng, settings) for _ in range(count)]


@given(seeds)
def test_a_random_view_follows_from_its_generator_and_keeps_to_its_ranges(seed):
    view, again = (random_view(np.random.default_rng(seed)) for _ in range(2))
    assert view == again
    assert 0 <= view.symmetry < 8
    assert 0.67 <= view.gamma <= 1.5
    assert 0.75 <= view.gain <= 1.25
    assert view.artefacts == NO_ARTEFACTS


def test_the_defaults_draw_what_was_drawn_before_there_were_settings():
    rng = np.random.default_rng([0, 2])
    for view in views(AugmentationSettings(), [0, 2]):
        symmetry, changes_contrast = int(rng.integers(8)), bool(rng.integers(2))
        expected = (symmetry, 1.0, 1.0)
        if changes_contrast:
            gamma = float(np.exp(rng.uniform(-0.4, 0.4)))
            expected = (symmetry, gamma, float(rng.uniform(0.75, 1.25)))
        assert (view.symmetry, view.gamma, view.gain) == expected


@given(seeds)
def test_artefacts_change_nothing_else_of_what_is_drawn(seed):
    for plain, changed in zip(
        views(AugmentationSettings(), seed, 5), views(ON, seed, 5), strict=True
    ):
        assert (plain.symmetry, plain.gamma, plain.gain) == (
            changed.symmetry,
            changed.gamma,
            changed.gain,
        )


def test_turning_one_artefact_off_leaves_the_others_as_they_were():
    quiet = ON.model_copy(update={"noise": 0})
    for loud, still in zip(views(ON, 0), views(quiet, 0), strict=True):
        for kind in KINDS:
            expected = 0 if kind == "noise" else getattr(loud.artefacts, kind)
            assert getattr(still.artefacts, kind) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_artefacts_come_as_often_and_as_strong_as_told(kind):
    found = np.array([getattr(view.artefacts, kind) for view in views(ON, 1, 1000)])
    assert (found > 0).mean() == pytest.approx(0.3, abs=0.05)
    assert 0.9 * getattr(ON, kind) < found.max() <= getattr(ON, kind)


def test_everything_off_gives_the_tile_itself():
    off = AugmentationSettings(symmetries=False, gamma=0, gain=0)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    for view in views(off, 0, 50):
        assert np.array_equal(view.of_pixels(pixels), pixels)
        assert np.array_equal(view.of_labels(pixels), pixels)


@given(seeds)
def test_labels_change_by_symmetry_alone(seed):
    labels = np.arange(36).reshape(6, 6)
    (plain,), (changed,) = views(AugmentationSettings(), seed, 1), views(ON, seed, 1)
    assert np.array_equal(plain.of_labels(labels), changed.of_labels(labels))


@pytest.mark.parametrize(
    "wrong", [{"fold": 1.5}, {"noise": -1}, {"places": "here"}, {"dropout": 1}, {"scratches": 0.5}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        AugmentationSettings(**wrong)
