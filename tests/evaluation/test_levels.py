"""Means and paired differences of a study's levels, against cases worked by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.errors import InputError
from mitosam.evaluation.levels import (
    Sample,
    SectionTotal,
    estimate_difference,
    estimate_mean,
    on_shared_sections,
    sample_of,
    total_scores,
)
from mitosam.evaluation.scores import Score


def total(section, ious, *, msa=0.5, prompt="object-box"):
    return SectionTotal(
        prompt=prompt,
        method="tuned",
        clicks=0,
        volume="v",
        section=section,
        count=len(ious),
        dice=sum(2 * iou / (1 + iou) for iou in ious),
        iou=sum(ious),
        msa=msa,
    )


def sample(*rows, counts=None):
    sums = np.array(rows, float)
    return Sample(
        sections=tuple(range(sums.shape[1])),
        sums=sums,
        counts=np.ones_like(sums) if counts is None else np.array(counts, float),
    )


def test_a_mean_counts_every_object_alike_and_every_seed_alike():
    first = [total(0, [1.0, 1.0, 1.0]), total(1, [0.0])]
    second = [total(0, [0.5, 0.5, 0.5]), total(1, [0.5])]
    assert sample_of([first], "iou").mean == 0.75
    assert sample_of([first, second], "iou").mean == (0.75 + 0.5) / 2


def test_msa_is_a_mean_over_sections():
    totals = [total(0, [0.9] * 9, msa=0.8), total(1, [0.1], msa=0.2)]
    assert sample_of([totals], "msa").mean == 0.5


def test_the_interval_of_a_difference_is_that_of_all_draws_of_five_sections():
    """Every one of the 5 ** 5 draws with replacement, instead of 2,000 random ones."""
    base, level = [0.1, 0.5, 0.3, 0.9, 0.7], [0.2, 0.5, 0.5, 0.8, 0.9]
    gains = np.subtract(level, base)
    means = [gains[list(draw)].mean() for draw in product(range(5), repeat=5)]
    found = estimate_difference(sample(level), sample(base), seed=1)
    assert found.mean == pytest.approx(0.08)
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(means, [0.025, 0.975])), abs=0.02
    )
    assert found.resampled == "sections"
    assert not found.is_clear


def test_what_makes_a_section_hard_for_both_cancels_out():
    base = np.linspace(0, 0.9, 10)
    found = estimate_difference(sample(base + 0.05), sample(base), seed=0)
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))
    assert found.is_clear
    assert estimate_mean(sample(base), seed=0).high - estimate_mean(sample(base), seed=0).low > 0.3


def test_with_seeds_the_interval_speaks_of_them_too():
    base = np.full((2, 6), 0.5)
    level = np.stack([np.full(6, 0.7), np.full(6, 0.3)])  # one seed won, one lost
    found = estimate_difference(sample(*level), sample(*base), seed=0)
    assert found.resampled == "sections and seeds"
    assert found.mean == pytest.approx(0)
    assert (found.low, found.high) == pytest.approx((-0.2, 0.2))
    alone = estimate_difference(sample(level[0]), sample(base[0]), seed=0)
    assert alone.is_clear


def test_objects_weigh_alike_when_sections_are_drawn():
    """All scores of a section are alike, and half the sections have nine times the objects."""
    sums, counts = [[9 * 0.8, 0.2] * 3], [[9, 1] * 3]
    found = estimate_mean(sample(*sums, counts=counts), seed=0)
    assert found.mean == pytest.approx(0.74)
    assert found.low < 0.74 < found.high <= 0.8


def test_fewer_than_five_sections_give_no_interval():
    found = estimate_difference(sample([0.9] * 4), sample([0.1] * 4), seed=0)
    assert found.mean == pytest.approx(0.8)
    assert math.isnan(found.low)
    assert not found.is_clear
    assert found.resampled == "nothing"


@given(st.lists(st.floats(0, 1), min_size=5, max_size=12), st.integers(0, 5))
def test_a_level_does_not_differ_from_itself(values, seed):
    found = estimate_difference(sample(values), sample(values), seed=seed)
    assert (found.mean, found.low, found.high) == (0, 0, 0)
    assert not found.is_clear


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=5, max_size=12),
    st.integers(0, 5),
)
def test_a_difference_taken_the_other_way_has_the_other_sign(pairs, seed):
    first, second = (sample(values) for values in zip(*pairs, strict=True))
    there = estimate_difference(first, second, seed=seed)
    back = estimate_difference(second, first, seed=seed)
    assert back.mean == pytest.approx(-there.mean)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-12)


def test_only_sections_that_all_runs_scored_are_compared():
    seeds = [[total(0, [0.5]), total(1, [0.5])], [total(1, [0.5]), total(2, [0.5])]]
    assert sample_of(seeds, "iou").sections == (("v", 1),)
    first, second = on_shared_sections(
        sample_of([seeds[0]], "iou"), sample_of([[total(1, [0.25])]], "iou")
    )
    assert first.sections == second.sections == (("v", 1),)
    with pytest.raises(InputError, match="got none"):
        sample_of([[total(0, [0.5])], [total(1, [0.5])]], "iou")


def test_other_sections_or_seeds_on_one_side_are_refused():
    with pytest.raises(InputError, match="same sections and seeds"):
        estimate_difference(sample([0.5] * 5, [0.5] * 5), sample([0.5] * 5), seed=0)


def score(section, method, intersection, protocol="object-box"):
    return Score(
        protocol=protocol,
        method=method,
        volume="v",
        section=section,
        y=0,
        x=0,
        object_id=1,
        num_objects=1,
        truth_px=10,
        predicted_px=10,
        intersection_px=intersection,
        predicted_iou=0.5,
    )


def test_scores_add_up_section_by_section():
    scores = [score(0, "tuned", 10), score(0, "tuned", 5), score(3, "base", 0)]
    scores += [score(0, "filled box", 10), score(0, "tuned", 10, "patch-box")]
    rows = {(one.prompt, one.method, one.section): one for one in total_scores(scores)}
    assert set(rows) == {
        ("object-box", "tuned", 0),
        ("object-box", "base", 3),
        ("patch-box", "tuned", 0),
    }
    both = rows["object-box", "tuned", 0]
    assert (both.count, both.iou, both.dice) == pytest.approx((2, 1 + 1 / 3, 1.5))
    # One object is a hit at all ten thresholds, the other at none: TP 1, FP 1, FN 1.
    assert both.msa == pytest.approx(1 / 3)
    assert math.isnan(rows["patch-box", "tuned", 0].msa)
