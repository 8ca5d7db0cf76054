from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.evaluation.summary import GROUPS, compare, group_of, summarise
from tests.evaluation.synthetic import make_score

percents = st.lists(st.integers(0, 100), min_size=1, max_size=12)


def test_a_summary_worked_by_hand():
    scores = [make_score(value, x=i) for i, value in enumerate((0, 50, 100, 100))]
    row = summarise(scores, seed=0)[0]
    assert (row.protocol, row.method, row.group, row.count) == ("patch-box", "base", "all", 4)
    assert row.iou.mean == pytest.approx(0.625)
    assert row.iou.median == pytest.approx(0.75)
    assert row.iou.pooled == pytest.approx(250 / 400)
    assert row.dice.mean == pytest.approx((0 + 2 / 3 + 1 + 1) / 4)
    assert row.dice.pooled == pytest.approx(2 * 250 / (400 + 250))
    assert row.iou.interval.resampled == "single scores"


def test_rows_come_by_protocol_method_and_group():
    scores = [
        make_score(10, protocol="object-box", object_id=1),
        make_score(20, method="filled box", num_objects=5),
        make_score(30, num_objects=2),
        make_score(40, num_objects=0, x=256),
    ]
    assert [(row.protocol, row.method, row.group) for row in summarise(scores, seed=0)] == [
        ("patch-box", "base", "all"),
        ("patch-box", "base", "none"),
        ("patch-box", "base", "2-3"),
        ("patch-box", "filled box", "all"),
        ("patch-box", "filled box", "4 or more"),
        ("object-box", "base", "all"),
        ("object-box", "base", "1"),
    ]


@given(st.integers(0, 50))
def test_every_count_has_one_group(num_objects):
    assert group_of(num_objects) in set(GROUPS) - {"all"}


@settings(max_examples=20)
@given(percents, st.randoms(use_true_random=False))
def test_groups_share_out_all_scores_and_order_does_not_matter(values, rng):
    scores = [make_score(v, x=i, section=i % 6, num_objects=i % 6) for i, v in enumerate(values)]
    rows = summarise(scores, seed=0)
    assert sum(row.count for row in rows if row.group != "all") == rows[0].count == len(values)
    random.Random(rng.random()).shuffle(scores)
    for row, shuffled in zip(rows, summarise(scores, seed=0), strict=True):
        assert shuffled.iou.mean == pytest.approx(row.iou.mean)
        assert shuffled.iou.pooled == row.iou.pooled


def test_a_comparison_worked_by_hand():
    base = [make_score(value, x=i) for i, value in enumerate((50, 50, 50, 50))]
    tuned = [make_score(value, x=i, method="tuned") for i, value in enumerate((70, 60, 50, 40))]
    row = compare(base + tuned, seed=0)[0]
    assert (row.method, row.against, row.group, row.num_pairs) == ("tuned", "base", "all", 4)
    assert row.iou.mean == pytest.approx(0.05)
    assert (row.iou.num_better, row.iou.num_worse) == (2, 1)
    assert row.iou.share_improved == 0.5
    assert not row.iou.is_clear


def test_a_gain_on_every_section_is_clear():
    scores = [make_score(40 + s, section=s) for s in range(8)]
    scores += [make_score(60 + s, section=s, method="tuned") for s in range(8)]
    row = compare(scores, seed=0)[0]
    assert row.iou.mean == pytest.approx(0.2)
    assert (row.iou.interval.low, row.iou.interval.high) == pytest.approx((0.2, 0.2))
    assert row.iou.is_clear


@settings(max_examples=20)
@given(percents)
def test_swapping_the_methods_turns_the_sign(values):
    scores = [make_score(v, x=i) for i, v in enumerate(values)]
    scores += [make_score(100 - v, x=i, method="tuned") for i, v in enumerate(values)]
    forth = compare(scores, seed=0)[0]
    back = compare(scores, seed=0, method="base", against="tuned")[0]
    assert forth.dice.mean == pytest.approx(-back.dice.mean)
    assert forth.dice.num_better == back.dice.num_worse


def test_the_difference_of_means_is_the_mean_difference():
    rng = random.Random(0)
    scores = [make_score(rng.randrange(101), section=i) for i in range(9)]
    scores += [make_score(rng.randrange(101), section=i, method="tuned") for i in range(9)]
    base, tuned = (row for row in summarise(scores, seed=0) if row.group == "all")
    assert compare(scores, seed=0)[0].dice.mean == pytest.approx(tuned.dice.mean - base.dice.mean)


def test_nothing_to_pair_gives_no_rows():
    assert compare([make_score(10)], seed=0) == []
    assert summarise([], seed=0) == []


def test_one_score_has_no_interval():
    assert math.isnan(summarise([make_score(10)], seed=0)[0].dice.interval.low)
