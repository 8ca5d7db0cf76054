from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.evaluation.cases import choose_cases
from mitosam.evaluation.scores import Score
from tests.evaluation.synthetic import make_score

pairs = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=25)


def make_pairs(values: list[tuple[int, int]], num_objects: int | None = None) -> list[Score]:
    """Base and tuned scores of as many patches; patch i holds i + 1 objects unless told."""
    return [
        make_score(value, method=method, x=i, num_objects=num_objects or i + 1)
        for i, both in enumerate(values)
        for method, value in zip(("base", "tuned"), both, strict=True)
    ]


def test_each_reason_finds_its_patch():
    scores = make_pairs([(10, 50), (10, 95), (80, 70), (10, 20), (10, 60), (10, 55)])
    found = {c.why: c.tuned.iou for c in choose_cases(scores, num_each=1)}
    assert found == {"best": 0.95, "median": 0.55, "worst": 0.2, "most crowded": 0.6, "lost": 0.7}


def test_losses_come_greatest_first_and_no_more_than_asked():
    cases = choose_cases(make_pairs([(50, 40), (50, 10), (50, 30)]), num_lost=2)
    lost = [round(case.tuned.iou - case.base.iou, 2) for case in cases if case.why == "lost"]
    assert lost == [-0.4, -0.2]


@settings(max_examples=50)
@given(pairs)
def test_no_patch_is_shown_twice_and_losses_are_losses(values):
    cases = choose_cases(make_pairs(values))
    subjects = [case.base.subject for case in cases]
    assert len(set(subjects)) == len(subjects)
    assert all(case.base.subject == case.tuned.subject for case in cases)
    assert all(case.tuned.iou < case.base.iou for case in cases if case.why == "lost")


@given(pairs.filter(lambda values: all(base <= tuned for base, tuned in values)))
def test_nothing_is_lost_where_nothing_got_worse(values):
    assert not [case for case in choose_cases(make_pairs(values)) if case.why == "lost"]


def at_sections(places: list[int]) -> list[Score]:
    """Patches of successive sections at these x, each better than the one before."""
    return [
        make_score(50 * (method == "tuned") + 5 * section, method=method, section=section, x=x)
        for section, x in enumerate(places)
        for method in ("base", "tuned")
    ]


def test_the_same_place_is_not_shown_again_where_there_is_another():
    cases = choose_cases(at_sections([256, 256, 0, 0, 0]), num_each=2)
    assert [case.base.section for case in cases if case.why == "best"] == [4, 1]


def test_the_same_place_is_shown_again_where_there_is_no_other():
    cases = choose_cases(at_sections([0, 0, 0, 0, 0]), num_each=2)
    assert [case.base.section for case in cases if case.why == "best"] == [4, 3]


def test_one_patch_is_shown_once():
    assert [case.why for case in choose_cases(make_pairs([(10, 20)]))] == ["best"]


def test_no_scores_give_no_cases():
    assert choose_cases([]) == []
