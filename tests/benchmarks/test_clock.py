from __future__ import annotations

from types import ModuleType

import pytest

from benchmarks.clock import Clock


class Hands:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time

    def work(self, seconds: float) -> None:
        self.time += seconds


def test_a_stage_within_another_counts_alone():
    hands = Hands()
    clock = Clock(hands)
    with clock.stage("outer"):
        hands.work(1)
        with clock.stage("inner"):
            hands.work(10)
        hands.work(100)
    assert clock.seconds == {"outer": 101, "inner": 10}


def test_time_outside_all_stages_counts_nowhere():
    hands = Hands()
    clock = Clock(hands)
    hands.work(5)
    with clock.stage("one"):
        hands.work(1)
    hands.work(5)
    assert clock.seconds == {"one": 1}


def test_a_generator_is_timed_only_while_it_works():
    hands = Hands()
    clock = Clock(hands)

    def items():
        for item in range(3):
            hands.work(1)
            yield item

    with clock.stage("reader"):
        for _ in clock.timed("maker", items)():
            hands.work(10)
    assert clock.seconds == {"reader": 30, "maker": 3}


def test_watched_functions_are_put_back_even_after_an_error():
    hands = Hands()
    clock = Clock(hands)
    module = ModuleType("module")
    module.work = hands.work
    with pytest.raises(TypeError), clock.watching({(module, "work"): "working"}):
        module.work(2)
        module.work("no number")
    assert clock.seconds == {"working": 2}
    assert module.work == hands.work
