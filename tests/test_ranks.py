import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mitosam.errors import SettingsError
from mitosam.locks import claims_on
from mitosam.progress import SILENT
from mitosam.ranks import ALONE, Ranks, current, interleave, join
from tests.tiny_runs import Remembered


@given(st.lists(st.integers()), st.integers(1, 6))
def test_what_is_shared_out_comes_back_in_its_order(items, count):
    parts = [Ranks(index=index, count=count).share(items) for index in range(count)]
    assert interleave(parts) == items


@given(st.lists(st.integers()), st.integers(1, 6))
def test_shares_differ_by_at_most_one(items, count):
    sizes = [len(Ranks(index=index, count=count).share(items)) for index in range(count)]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_is_alone_and_leads(tmp_path):
    assert join() is current() is ALONE
    assert ALONE.is_lead
    assert ALONE.put_together([1, 2]) == [1, 2]
    assert ALONE.agree("this") == "this"
    assert ALONE.total(4) == 4
    assert ALONE.led(lambda: 5) == 5
    parameter = torch.nn.Parameter(torch.zeros(2))
    assert ALONE.add_up([parameter], 0.1) == 0.1
    assert parameter.grad is None


def test_only_the_lead_speaks_and_locks(tmp_path):
    voice = Remembered()
    assert Ranks(index=0, count=2).voice(voice) is voice
    assert Ranks(index=1, count=2).voice(voice) is SILENT
    with ALONE.writing(tmp_path / "run"):
        assert len(claims_on(tmp_path / "run")) == 1
        with Ranks(index=1, count=2).writing(tmp_path / "run"):
            pass


def test_one_device_is_not_enough_for_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SettingsError, match=r"model.device=cuda:1 would be the device of 2"):
        join("cuda:1")
