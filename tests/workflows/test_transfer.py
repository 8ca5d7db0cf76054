from __future__ import annotations

import pytest

from mitosam.errors import InputError, SettingsError
from mitosam.workflows.evaluate import evaluate
from mitosam.workflows.report import report
from mitosam.workflows.transfer import transfer
from tests.tiny_runs import contents, write_phantom


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("other"), seed=8, shape_zyx=(3, 128, 128))


@pytest.mark.parametrize("given", ["run", "file"])
def test_a_tuned_model_is_scored_on_a_volume_it_was_not_trained_on(
    tmp_path, finished, other, given
):
    before = contents(finished.run.folder)
    model = finished.run.folder if given == "run" else finished.run.tuned_weights
    run = transfer(model, other.images, other.masks, tmp_path / "out", sections="2-3")
    evaluation = evaluate(run)
    assert {score.section for score in evaluation.scores} == {1, 2}
    assert {"base", "tuned"} <= {score.method for score in evaluation.scores}
    assert report(run, evaluation).exists()
    assert contents(finished.run.folder) == before


def test_only_a_tuned_model_is_transferred_and_only_the_evaluation_changes(
    tmp_path, finished, other, base_model
):
    with pytest.raises(SettingsError, match="is not a tuned model"):
        transfer(base_model, other.images, other.masks, tmp_path / "out")
    with pytest.raises(SettingsError, match=r"only settings of \[evaluation\]"):
        transfer(
            finished.run.folder,
            other.images,
            other.masks,
            tmp_path / "out",
            overrides=["seed=4"],
        )
    assert not (tmp_path / "out").exists()


def test_data_that_cannot_be_used_leaves_nothing_behind(tmp_path, finished, other):
    with pytest.raises(InputError, match="does not look like masks"):
        transfer(finished.run.folder, other.images, other.images, tmp_path / "out")
    assert not (tmp_path / "out").exists()
