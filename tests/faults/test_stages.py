"""What suits each stage, and when it is disturbed."""

from __future__ import annotations

import random
import signal
import time

import pytest

from faults.kinds import DAMAGES, KINDS, OF_CLUSTERS, OF_WORKERS
from faults.stages import stages
from faults.trial import Trial


@pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.name)
def test_each_stage_has_faults_that_are_known_and_suit_it(stage):
    assert set(stage.kinds) <= set(KINDS)
    assert stage.on_cluster == ("scheduler killed" in stage.kinds)
    assert not set(OF_CLUSTERS) & set(DAMAGES)


def test_workers_are_killed_wherever_there_are_any():
    shared = [stage for stage in stages() if set(OF_WORKERS) <= set(stage.kinds)]
    assert [stage.name for stage in shared] == [
        "segment, workers",
        "measure, workers",
        "segment, cluster",
        "measure, cluster",
    ]


class Always(random.Random):
    """Chance that always waits for a sign."""

    def random(self):
        return 0.0


def test_a_fault_waits_for_a_sign_of_work_or_for_the_end(tmp_path):
    folder = tmp_path / "trial"
    folder.mkdir()

    def work():
        time.sleep(0.2)
        (folder / "block").touch()
        time.sleep(60)

    trial = Trial(folder, work, Always(), seconds=1.0, signs=["blo*"])
    child = trial.start()
    trial.pause(child)
    assert (folder / "block").exists()
    child.send(signal.SIGKILL)
    assert child.wait().code == -signal.SIGKILL
    assert trial.notes == ["0.00 s after blo*"]

    trial = Trial(folder, lambda: None, Always(), seconds=1.0, signs=["never"])
    child = trial.start()
    trial.pause(child)
    assert child.wait().code == 0
