import pytest

from mitosam.cli import processes
from mitosam.cli.processes import require_shared, what_to_say
from mitosam.errors import InputError, RankError, SettingsError


@pytest.fixture
def second_of_three(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")


def test_only_training_is_done_by_several_processes(second_of_three):
    require_shared("finetune")
    require_shared("train")
    with pytest.raises(SettingsError, match=r"3 processes were started.*without torchrun"):
        require_shared("segment")


def test_one_process_does_all_commands(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "3")  # as some schedulers set it for every job
    require_shared("segment")


def test_the_first_process_says_errors_as_they_are_and_another_says_who_it_is(
    second_of_three, monkeypatch
):
    assert what_to_say(InputError("no masks")) == "process 2 of 3: no masks"
    monkeypatch.setenv("RANK", "0")
    assert what_to_say(InputError("no masks")) == "no masks"
    assert what_to_say(RankError("another one ended")) == "another one ended"
