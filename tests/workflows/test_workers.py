"""Workers: what they give, what they survive, and what they leave behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from types import SimpleNamespace

import dask
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam import __version__
from mitosam.errors import InputError, SettingsError, WorkersError
from mitosam.progress import SILENT
from mitosam.workflows import workers_dask
from mitosam.workflows.worker_process import Prepared
from mitosam.workflows.workers import Task, open_workers
from mitosam.workflows.workers_dask import RECONNECT
from mitosam.workflows.workers_flight import ITEMS_PER_WORKER
from tests.workflows import worker_tasks
from tests.workflows.dask_cluster import (
    ROOT,
    free_port,
    running_cluster,
    running_scheduler,
    running_worker,
)
from tests.workflows.worker_tasks import Times, notes

SHOWN = {"title": "multiplying", "unit": "number", "progress": SILENT}
PATIENCE_S = 60.0


class Heard:
    """Progress that remembers what it was told."""

    def __init__(self):
        self.lines, self.counts = [], []

    def track(self, items, description, *, total=None, unit="it"):
        for done, item in enumerate(items):
            self.counts.append((done, total))
            yield item

    def say(self, message):
        self.lines.append(message)


@pytest.fixture(scope="module")
def two():
    with open_workers(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def serial():
    with open_workers() as workers:
        yield workers


def calling(function) -> Task:
    return Task(function.__name__, partial(worker_tasks.give, function))


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(condition) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


@settings(max_examples=10)
@given(items=st.lists(st.integers(-1000, 1000), max_size=12), factor=st.integers(1, 3))
def test_any_number_of_workers_gives_what_one_does(two, serial, tmp_path_factory, items, factor):
    task = Times(factor, tmp_path_factory.getbasetemp()).task()
    alone = list(serial.run(task, items, **SHOWN))
    assert alone == [(item, item * factor) for item in items]
    assert sorted(two.run(task, items, **SHOWN)) == sorted(alone)


def test_each_worker_prepares_once_over_several_runs(two, tmp_path):
    task = Times(2, tmp_path, seconds=0.02).task()
    for _ in range(2):
        assert len(list(two.run(task, range(12), **SHOWN))) == 12
    prepared = [pid for (pid,) in notes(tmp_path, "prepared")]
    assert len(prepared) == len(set(prepared)) == two.num_workers == 2
    assert set(prepared) == {pid for pid, _ in notes(tmp_path, "began")}


def test_the_functions_used_last_are_kept():
    prepared = Prepared(num_kept=2)
    made = []

    def task(name):
        return Task(name, lambda: made.append(name) or str)

    for name in ("a", "b", "a", "c", "a", "b"):
        assert prepared.function(task(name))(1) == "1"
    assert made == ["a", "b", "c", "b"]


class Watched(Sequence):
    """Numbers that know how many were asked for."""

    def __init__(self, count):
        self.count, self.asked = count, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked += 1
        return index


def test_a_million_items_are_not_sent_at_once(two, tmp_path):
    items = Watched(1_000_000)
    results = two.run(Times(2, tmp_path).task(), items, **SHOWN)
    for taken in range(1, 6):
        next(results)
        # a result is looked up once more to be handed over
        assert items.asked <= 2 * taken + 2 * ITEMS_PER_WORKER
    results.close()


def test_progress_counts_every_item(two, tmp_path):
    heard = Heard()
    list(two.run(Times(2, tmp_path).task(), range(5), title="t", unit="n", progress=heard))
    assert heard.counts == [(done, 5) for done in range(5)]


@pytest.mark.parametrize("workers", ["serial", "two"])
def test_an_error_of_the_package_arrives_as_itself(workers, request):
    ran = request.getfixturevalue(workers)
    with pytest.raises(InputError, match=r"^number 3 cannot be used; leave it out$"):
        list(ran.run(calling(worker_tasks.refuse), range(8), **SHOWN))


def test_any_other_error_is_one_line_that_names_the_item(two):
    with pytest.raises(WorkersError, match=r"^multiplying: 3 failed in a worker: ZeroDiv.*zero$"):
        list(two.run(calling(worker_tasks.divide), range(8), **SHOWN))


def test_workers_go_on_after_a_run_that_ended_early(two, tmp_path):
    results = two.run(Times(2, tmp_path, seconds=0.05).task(), range(100), **SHOWN)
    next(results)
    results.close()
    assert len(list(two.run(Times(3, tmp_path).task(), range(10), **SHOWN))) == 10
    assert len(notes(tmp_path, "began")) < 40


def test_workers_share_the_threads_and_leave_ctrl_c_alone(two):
    found = {result for _, result in two.run(calling(worker_tasks.threads_of), range(4), **SHOWN)}
    assert {blocked for _, blocked in found} == {True}
    assert all(int(threads) * 2 <= (os.cpu_count() or 1) or threads == "1" for threads, _ in found)


def test_what_a_killed_worker_was_at_is_done_again(two, tmp_path, caplog):
    task = Times(3, tmp_path, seconds=0.3).task()
    results = two.run(task, range(10), **SHOWN)
    found = [next(results)]
    os.kill(int(notes(tmp_path, "began")[-1][0]), signal.SIGKILL)
    found += results
    assert sorted(found) == [(number, 3 * number) for number in range(10)]
    assert "what it was at is done again" in caplog.text


def test_an_item_that_ends_its_worker_is_named_after_three_times(two):
    message = r"^multiplying: 3 ended its worker 3 times; most often memory ran out"
    with pytest.raises(WorkersError, match=message):
        list(two.run(calling(worker_tasks.fall_at_three), range(8), **SHOWN))
    assert len(list(two.run(calling(worker_tasks.refuse), [1, 2], **SHOWN))) == 2


@pytest.mark.parametrize(
    ("num_workers", "scheduler", "message"),
    [
        (0, None, "workers must be at least 1, got 0"),
        (1, "localhost:8786", "as tcp://host:8786 or tls://host:8786, got 'localhost:8786'"),
        (2, "tcp://localhost:8786", "not both"),
    ],
)
def test_what_cannot_be_opened_is_said(num_workers, scheduler, message):
    with (
        pytest.raises(SettingsError, match=message),
        open_workers(num_workers, scheduler),
    ):
        pass


def test_one_worker_needs_no_dask():
    code = (
        "import sys\n"
        "from mitosam.workflows.workers import open_workers\n"
        "with open_workers() as workers: pass\n"
        "print([name for name in ('dask', 'distributed', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SLEEPERS = """
import signal, sys
from pathlib import Path
from mitosam.progress import SILENT
from mitosam.workflows.workers import open_workers
from tests.workflows.worker_tasks import Times
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
try:
    with open_workers(2) as workers:
        task = Times(1, Path(sys.argv[1]), seconds=600).task()
        list(workers.run(task, range(9), title="sleeping", unit="night", progress=SILENT))
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_ends_takes_its_workers_along(tmp_path, end):
    """By Ctrl-C, which a terminal sends to workers, too; and by what nothing can answer."""
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPERS, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
    ) as process:
        wait_until(lambda: len(notes(tmp_path, "began")) == 2 or process.poll() is not None)
        pids = [int(pid) for pid, _ in notes(tmp_path, "began")]
        assert len(set(pids)) == 2
        (os.killpg if end == signal.SIGINT else os.kill)(process.pid, end)
        said, complained = process.communicate(timeout=PATIENCE_S)
    if end == signal.SIGINT:
        assert (said, complained, process.returncode) == ("stopped\n", "", 0)
    wait_until(lambda: all(map(gone, pids)))


def test_a_scheduler_that_comes_back_is_gone_on_with_and_one_that_stays_away_is_one_line(tmp_path):
    port, heard, cluster = free_port(), Heard(), ExitStack()
    task = Times(5, tmp_path, seconds=0.1).task()
    address = cluster.enter_context(running_cluster(port))
    with cluster, open_workers(1, address, progress=heard) as workers:
        results = workers.run(task, range(12), title="t", unit="n", progress=heard)
        found = [next(results) for _ in range(3)]
        cluster.close()
        cluster.enter_context(running_cluster(port))
        found += results
        assert sorted(found) == [(number, 5 * number) for number in range(12)]
        assert heard.counts == [(done, 12) for done in range(12)]
        assert any("is gone; looking for it for 60 s" in line for line in heard.lines)
        assert "is back" in heard.lines[-1]

        results = workers.run(task, range(12), **SHOWN)
        next(results)
        cluster.close()
        message = r"did not come back within 1 s; once it runs again, the same command goes on from"
        with dask.config.set({RECONNECT: "1s"}), pytest.raises(WorkersError, match=message):
            list(results)


def test_a_cluster_without_workers_is_waited_for_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_dask, "LONELY_S", 0.1)
    with ExitStack() as cluster:
        address = cluster.enter_context(running_scheduler(free_port()))

        class Helper(Heard):
            def say(self, message):
                super().say(message)
                if message.startswith(f"no workers are left at {address}; waiting"):
                    cluster.enter_context(running_worker(address))

        heard, task = Helper(), Times(5, tmp_path).task()
        with open_workers(1, address, progress=heard) as workers:
            found = dict(workers.run(task, range(3), title="t", unit="n", progress=heard))
        assert found == {0: 0, 1: 5, 2: 10}
        assert sum("no workers are left" in line for line in heard.lines) == 1


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"a": OSError("closed"), "b": __version__}, None),
        ({"a": OSError("closed"), "b": "0.0.1"}, r"got 0\.0\.1; install"),
        ({"a": ValueError("no such module")}, "got none; install"),
        (OSError("closed"), "went away; once it runs again"),
    ],
)
def test_a_worker_that_ends_while_it_is_asked_is_no_other_version(answers, message):
    def run(*_, **__):
        if isinstance(answers, OSError):
            raise answers
        return answers

    asked = SimpleNamespace(client=SimpleNamespace(run=run), address="tcp://127.0.0.1:1")
    with nullcontext() if message is None else pytest.raises(WorkersError, match=message):
        workers_dask.DaskWorkers.check_versions(asked)


def test_workers_of_another_version_are_refused():
    other = "import mitosam; mitosam.__version__ = '0.0.1'"
    message = rf"workers must run mitosam {__version__} as this process does, got 0\.0\.1; install"
    with running_cluster(free_port(), "--preload", other) as address:
        wait_until(lambda: refusal(address))
        assert re.search(message, refusal(address))


def refusal(address) -> str:
    try:
        with open_workers(1, address) as workers:
            list(workers.run(calling(worker_tasks.refuse), [1], **SHOWN))
    except WorkersError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("scheme", "required", "message"),
    [("tls", False, "needs certificates"), ("tcp", True, "requires encryption")],
)
def test_encryption_that_does_not_fit_is_one_line(scheme, required, message):
    with (
        dask.config.set({"distributed.comm.require-encryption": required}),
        pytest.raises(WorkersError, match=message),
        open_workers(1, f"{scheme}://127.0.0.1:1"),
    ):
        pass


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(workers_dask, "CONNECT_S", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        pytest.raises(WorkersError, match=rf"^the Dask scheduler at {address} cannot be reached"),
        open_workers(1, address),
    ):
        pass
