"""What cannot be scored, and results that are damaged."""

from __future__ import annotations

import pytest

from mitosam.errors import InputError, InputNotFoundError, ModelError, SettingsError
from mitosam.workflows.automatic_results import RECORD, read_automatic, write_scores
from mitosam.workflows.evaluate_automatic import check_automatic, evaluate_automatic
from mitosam.workflows.prepare import prepare
from tests.automatic_runs import head_settings, train_run


def test_a_damaged_record_is_named(run):
    (path,) = run.automatic_folder("").glob(f"mitosam-head-volume*/{RECORD}")
    path.write_text('{"method": "head"')
    with pytest.raises(InputError, match=rf"{RECORD} is damaged .*; remove "):
        read_automatic(run)


def test_a_confidence_that_changed_is_found(run):
    (path,) = run.automatic_folder("").glob("mitosam-head-volume*/confidence.csv")
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(InputError, match=r"confidence.csv is not as it was written\); remove "):
        read_automatic(run)


def test_no_scores_are_empty_tables(tmp_path):
    write_scores(tmp_path, [])
    assert (tmp_path / "automatic_sections.csv").read_text() == ""


def test_a_run_without_scores_reads_none(trained):
    assert read_automatic(trained) == []


@pytest.mark.parametrize(
    ("methods", "rival", "message"),
    [
        (["head", "best"], "unet", "methods must be some of head, prompted, grid, got 'best'"),
        ([], "unet", "methods must be some of head, prompted, grid, got ''"),
        (["head"], "sam", "rival must be one of unet, none, got 'sam'"),
    ],
)
def test_unknown_names_are_refused(trained, methods, rival, message):
    with pytest.raises(SettingsError, match=message):
        check_automatic(trained.folder, methods, rival)


def test_a_run_must_be_trained_and_have_a_head(tmp_path, base_model, volume):
    settings = head_settings(base_model, "head.enabled=false")
    run = prepare(volume, tmp_path / "prepared", settings)
    with pytest.raises(InputNotFoundError, match="is not trained yet"):
        evaluate_automatic(run)
    run = train_run(volume, tmp_path / "headless", settings, head=False)
    with pytest.raises(ModelError, match="has no prompt-free head, which"):
        evaluate_automatic(run)
    check_automatic(run.folder, ["grid"], "unet")
