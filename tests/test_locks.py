"""Laws of the lock: one writer at a time, and none that outlives its owner."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time

import pytest

from mitosam import locks
from mitosam.errors import OutputInUseError
from mitosam.locks import acquire, claims_on, read_owner, why_dead
from mitosam.storage import sole_writer, write_text

RACE = """
import random, sys, time
from pathlib import Path
from mitosam import locks
from mitosam.errors import OutputInUseError
from mitosam.storage import sole_writer
out, seed, has_locks = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "locks"
if not has_locks:
    locks._lock = lambda handle: False
random.seed(seed)
wins = 0
inside = out.parent / "inside"
print("ready", flush=True)
sys.stdin.readline()
for _ in range(60):
    try:
        with sole_writer(out):
            inside.mkdir()  # fails if another one is inside
            time.sleep(random.uniform(0, 0.003))
            inside.rmdir()
            wins += 1
    except OutputInUseError:
        time.sleep(random.uniform(0, 0.004))
print(wins)
"""


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def forge(claim, **changes):
    """Write another owner into a claim that was let go without being removed."""
    values = json.loads(claim.path.read_bytes()) | changes
    os.close(claim.handle)
    claim.path.write_text(json.dumps(values))
    return claim.path


@pytest.mark.parametrize("kind", ["locks", "no locks"])
def test_of_processes_that_race_many_times_never_two_are_inside(tmp_path, kind):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / "out"), str(seed), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    wins = [int(racer.communicate(timeout=300)[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4
    assert sum(wins) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_claim_says_whose_it_is_and_lives_as_long_as_it_is_held(out):
    claim = acquire(out)
    assert claims_on(out) == [claim.path]
    owner = read_owner(claim.path)
    assert (owner.pid, owner.host) == (os.getpid(), locks.this_host())
    assert why_dead(claim.path) is None
    assert claim.is_held()
    claim.release()
    assert claims_on(out) == []
    assert why_dead(claim.path) == "it was released"


def test_a_claim_that_its_process_left_is_taken_over_and_that_is_logged(out, caplog):
    path = forge(acquire(out))
    assert why_dead(path) == "its process ended"
    with caplog.at_level(logging.INFO):
        acquire(out).release()
    assert f"took over {out} from {os.getpid()}: its process ended" in caplog.text
    assert not path.exists()


def test_without_locks_of_the_file_system_the_number_of_the_process_tells(out):
    live = forge(acquire(out), is_locked=False)
    assert why_dead(live) is None
    with pytest.raises(OutputInUseError, match=str(os.getpid())):
        acquire(out)
    reused = forge(acquire_beside(out), is_locked=False, process_started=12345.0)
    assert why_dead(reused) == "its process ended"


def acquire_beside(out):
    for path in claims_on(out):
        path.unlink()
    return acquire(out)


def test_on_another_host_signs_of_life_tell(out):
    path = forge(acquire(out), host="far", boot="other")
    assert why_dead(path) is None
    with pytest.raises(OutputInUseError, match=rf"\({os.getpid()} on far\)"):
        acquire(out)
    old = time.time() - locks.STALE_AFTER_S - 60
    os.utime(path, (old, old))
    assert why_dead(path) == "it gave no sign for 6 minutes"
    acquire(out).release()
    assert claims_on(out) == []


def test_a_claim_that_says_nothing_lives_until_it_is_old(out):
    path = forge(acquire(out))
    path.write_text("{")
    assert read_owner(path) is None
    with pytest.raises(OutputInUseError, match="unknown"):
        acquire(out)
    os.utime(path, (0, 0))
    acquire(out).release()


def test_an_owner_gives_signs_of_life(out, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_S", 0.01)
    claim = acquire(out)
    os.utime(claim.path, (0, 0))
    end = time.monotonic() + 60
    while claim.path.stat().st_mtime < 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert claim.path.stat().st_mtime > 1
    claim.release()


def test_whoever_slept_and_was_taken_over_writes_nothing_more(tmp_path, out):
    with (
        pytest.raises(OutputInUseError, match="was taken over by another process"),
        sole_writer(out),
    ):
        write_text(out / "a.txt", "mine")
        (path,) = claims_on(out)
        path.unlink()  # as another host does after minutes without a sign
        write_text(out / "a.txt", "mine again")
    assert (out / "a.txt").read_text() == "mine"


def test_claims_of_other_folders_are_none_of_ours(tmp_path):
    first = acquire(tmp_path / "run")
    second = acquire(tmp_path / "run.lock-2")
    assert claims_on(tmp_path / "run") == [first.path]
    first.release()
    second.release()
