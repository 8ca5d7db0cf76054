from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mitosam.data.splits import SplitSettings, parse_sections, split_halves, split_sections
from mitosam.errors import SettingsError


@given(
    num=st.integers(3, 400),
    gap=st.integers(0, 12),
    kind=st.sampled_from(["slabs", "random"]),
    fractions=st.tuples(st.floats(0.01, 0.45), st.floats(0.01, 0.45)),
)
def test_each_section_has_one_place_and_no_part_is_empty(num, gap, kind, fractions):
    settings = SplitSettings(
        kind=kind, gap=gap, validation_fraction=fractions[0], test_fraction=fractions[1]
    )
    split = split_sections(num, settings, 0)
    parts = [split.train, split.validation, split.test, split.unused]
    assert sorted(z for part in parts for z in part) == list(range(num))
    assert all(parts[:3])


@given(num=st.integers(6, 400), gap=st.integers(1, 12))
def test_slabs_do_not_leak_from_six_sections_on(num, gap):
    split = split_sections(num, SplitSettings(gap=gap), 0)
    assert not split.leaky
    distance = split.test[0] - max(split.validation)
    assert distance - 1 == split.validation[0] - max(split.train) - 1
    assert 1 <= distance - 1 <= gap
    assert distance - 1 == gap or split.note


def test_slabs_of_a_long_stack_by_hand():
    split = split_sections(165, SplitSettings(), 0)
    assert (split.train[0], split.train[-1]) == (0, 109)
    assert (split.validation[0], split.validation[-1]) == (114, 129)
    assert (split.test[0], split.test[-1]) == (134, 164)
    assert len(split.unused) == 8
    assert split.note == ""


@pytest.mark.parametrize("num", [3, 4, 5])
def test_stacks_too_short_for_a_gap_say_that_they_leak(num):
    split = split_sections(num, SplitSettings(), 0)
    assert split.leaky
    assert "the gap is 0 instead of 4" in split.note


def test_fewer_than_three_sections_point_to_halves():
    with pytest.raises(SettingsError, match="use split_halves"):
        split_sections(2, SplitSettings(), 0)


def test_a_random_split_follows_the_seed_and_is_leaky():
    settings = SplitSettings(kind="random")
    split = split_sections(50, settings, 1)
    assert split.leaky
    assert split == split_sections(50, settings, 1)
    assert split != split_sections(50, settings, 2)


def test_given_ranges_count_from_one_and_include_their_ends():
    settings = SplitSettings(kind="given", train="1-104", test="109-128")
    split = split_sections(165, settings, 0)
    assert split.train == tuple(range(104))
    assert split.test == tuple(range(108, 128))
    assert split.validation == ()
    assert not split.leaky


def test_given_neighbours_are_called_leaky():
    settings = SplitSettings(kind="given", train="1-5", test="6-9")
    assert split_sections(9, settings, 0).leaky


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("1-5", "5-9", "train and test must not share sections, both have section 5"),
        ("0-5", "6", "train must lie in 1-9"),
        ("1-5", "6-10", "test must lie in 1-9"),
        ("5-1", "6", "the first end before the last"),
        ("a", "6", 'train must look like "1-104"'),
        ("1-", "6", 'train must look like "1-104"'),
        ("-3", "6", 'train must look like "1-104"'),
    ],
)
def test_wrong_ranges_are_refused(train, test, message):
    with pytest.raises(SettingsError, match=message):
        split_sections(9, SplitSettings(kind="given", train=train, test=test), 0)


@given(st.sets(st.integers(0, 59), min_size=1))
def test_ranges_are_the_inverse_of_their_text(sections):
    text = ",".join(str(z + 1) for z in sections)
    assert parse_sections(text, 60) == tuple(sorted(sections))


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "given"},
        {"train": "1-3"},
        {"gap": -1},
        {"validation_fraction": 0.5, "test_fraction": 0.5},
        {"unknown": 1},
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings):
    with pytest.raises(ValidationError):
        SplitSettings(**settings)


def test_every_setting_explains_itself():
    assert all(field.description for field in SplitSettings.model_fields.values())


@given(st.integers(128, 20000))
def test_halves_leave_a_gap_and_reach_both_edges(width):
    halves = split_halves(width)
    assert halves.left[0] == 0
    assert halves.right[1] == width
    assert halves.left[1] < halves.right[0]
    assert halves.left[1] > halves.right[1] - halves.right[0]


def test_narrow_sections_have_no_halves():
    with pytest.raises(SettingsError, match="too narrow"):
        split_halves(60)
