from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.evaluation.bootstrap import bootstrap_mean

shares = st.lists(st.floats(0, 1), min_size=6, max_size=30)


def twelve_sections() -> tuple[np.ndarray, list[int]]:
    """Values that differ far more between sections than within."""
    rng = np.random.default_rng(0)
    sections = np.repeat(np.arange(12), rng.integers(3, 9, 12))
    values = rng.random(12)[sections] + 0.05 * rng.standard_normal(len(sections))
    return values, sections.tolist()


@settings(max_examples=25)
@given(shares, st.integers(0, 2**32 - 1))
def test_the_interval_lies_within_the_values(values, seed):
    interval = bootstrap_mean(np.array(values), range(len(values)), seed=seed)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9


@settings(max_examples=25)
@given(shares, st.floats(-3, 3))
def test_shifting_all_values_shifts_the_interval(values, shift):
    sections = [i % 7 for i in range(len(values))]
    still = bootstrap_mean(np.array(values), sections, seed=1)
    moved = bootstrap_mean(np.array(values) + shift, sections, seed=1)
    assert moved.low == pytest.approx(still.low + shift, abs=1e-9)
    assert moved.high == pytest.approx(still.high + shift, abs=1e-9)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values, sections = twelve_sections()
    assert bootstrap_mean(values, sections, seed=3) == bootstrap_mean(values, sections, seed=3)
    assert bootstrap_mean(values, sections, seed=3) != bootstrap_mean(values, sections, seed=4)


def test_scipy_resampling_whole_sections_agrees():
    values, sections = twelve_sections()
    sums, counts = np.bincount(sections, weights=values), np.bincount(sections)
    expected = scipy.stats.bootstrap(
        (sums, counts),
        lambda s, n, axis: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    interval = bootstrap_mean(values, sections, seed=0, num_resamples=20_000)
    assert interval.resampled == "sections"
    assert interval.low == pytest.approx(expected.low, abs=0.01)
    assert interval.high == pytest.approx(expected.high, abs=0.01)


def test_scipy_resampling_single_scores_agrees_where_sections_are_few():
    values = np.random.default_rng(5).random(40)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0)
    ).confidence_interval
    interval = bootstrap_mean(values, [i % 4 for i in range(40)], seed=0, num_resamples=20_000)
    assert interval.resampled == "single scores"
    assert interval.low == pytest.approx(expected.low, abs=0.005)
    assert interval.high == pytest.approx(expected.high, abs=0.005)


def test_copies_within_sections_do_not_narrow_the_interval():
    values, sections = twelve_sections()
    once = bootstrap_mean(values, sections, seed=0)
    thrice = bootstrap_mean(np.tile(values, 3), sections * 3, seed=0)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def test_about_95_of_100_intervals_hold_the_true_mean():
    rng = np.random.default_rng(2)
    sections = np.repeat(np.arange(30), 4)
    held = 0
    for seed in range(100):
        values = rng.standard_normal(30)[sections] + rng.standard_normal(120)
        held += 0.0 in bootstrap_mean(values, sections.tolist(), seed=seed, num_resamples=400)
    assert 86 <= held <= 99


@pytest.mark.parametrize("values", [[], [0.7]])
def test_fewer_than_two_values_have_no_interval(values):
    interval = bootstrap_mean(np.array(values), range(len(values)), seed=0)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_drawing_in_several_batches_changes_only_memory(monkeypatch):
    values, sections = twelve_sections()
    whole = bootstrap_mean(values, sections, seed=0)
    monkeypatch.setattr("mitosam.evaluation.bootstrap._DRAWS_AT_ONCE", 100)
    assert bootstrap_mean(values, sections, seed=0) == whole
