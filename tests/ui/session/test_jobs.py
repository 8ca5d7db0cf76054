from __future__ import annotations

import pytest

from mitosam.ui.session.jobs import JobProgress, Stopped, Work


def test_it_says_where_the_work_is_and_calls_back_at_each_item():
    seen = []
    progress = JobProgress(lambda: seen.append(progress.work(running=True)))
    for _ in progress.track("abc", "reading", unit="letter"):
        pass
    assert [(work.title, work.done, work.total) for work in seen] == [
        ("reading", 0, 3),
        ("reading", 0, 3),
        ("reading", 1, 3),
        ("reading", 2, 3),
        ("reading", 3, 3),
    ]
    assert [work.eta_s is None for work in seen] == [True, True, False, False, False]
    assert seen[-1].eta_s == 0


def test_the_number_of_items_may_be_unknown():
    progress = JobProgress()
    assert list(progress.track(iter("ab"), "reading")) == ["a", "b"]
    assert progress.work(running=False, error="broken") == Work(
        title="reading", done=1, total=None, running=False, eta_s=None, error="broken"
    )


def test_a_stop_ends_the_work_before_the_next_item():
    progress, seen = JobProgress(), []
    with pytest.raises(Stopped):
        for letter in progress.track("abc", "reading"):
            seen.append(letter)
            progress.stop()
    assert seen == ["a"]
