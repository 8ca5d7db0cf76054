"""A study's single runs: what they take over from others, and what they measure."""

from __future__ import annotations

import numpy as np
import pytest

from mitosam.config import override_settings
from mitosam.evaluation.levels import total_clicks
from mitosam.workflows.ablate import ablate
from mitosam.workflows.ablate_cells import read_cost, read_totals
from mitosam.workflows.evaluate import read_evaluation
from mitosam.workflows.evaluate_automatic import evaluate_automatic
from mitosam.workflows.evaluate_clicks import evaluate_clicks, read_click_scores, read_clicks
from mitosam.workflows.prepare import Sources, prepare
from mitosam.workflows.runs import Run
from mitosam.workflows.share import share_prepared
from mitosam.workflows.study import read_study
from tests.automatic_runs import HEAD
from tests.tiny_runs import SHORT, contents, short_settings, write_phantom

AUTOMATIC = """
seeds = [0]
automatic = true
base = { split = { kind = "given", train = "1-2", validation = "3", test = "4-8" } }
[[factor]]
name = "steps"
setting = "training.min_steps"
values = [8]
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("stack"), shape_zyx=(8, 96, 96))


@pytest.fixture(scope="module")
def automatic(stack, base_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("automatic")
    (folder / "own.toml").write_text(AUTOMATIC)
    changes = [*SHORT, *HEAD, f"model.name={str(base_model)!r}", "head.enabled=true"]
    study = read_study(str(folder / "own.toml"), overrides=changes)
    return ablate(study, folder / "out", sources=stack)


def test_what_is_found_without_prompts_is_a_row_of_its_own(automatic):
    (cell,) = (automatic.folder / "runs").iterdir()
    run = Run.open(cell)
    totals = [one for one in read_totals(cell) if one.prompt.startswith("automatic")]
    scored = evaluate_automatic(run, rival="none")
    assert {one.prompt for one in totals} == {f"automatic {score.method}" for score in scored}
    for score in scored:
        own = {one.section: one for one in totals if one.prompt == f"automatic {score.method}"}
        for section in score.scores.sections:
            if not section.is_empty:
                assert own[score.sections.start + section.section].iou == pytest.approx(section.iou)
    assert {prompt.kind for prompt in automatic.content.prompts} >= {"automatic head"}


def test_totals_are_those_of_the_runs_own_scores(automatic):
    (cell,) = (automatic.folder / "runs").iterdir()
    totals = [one for one in read_totals(cell) if not one.prompt.startswith("automatic")]

    for row in (row for row in read_evaluation(Run.open(cell)).summary if row.group == "all"):
        own = [one for one in totals if (one.prompt, one.method) == (row.protocol, row.method)]
        if own:
            assert sum(one.count for one in own) == row.count
            assert sum(one.iou for one in own) / row.count == pytest.approx(row.iou.mean)
            assert sum(one.dice for one in own) / row.count == pytest.approx(row.dice.mean)


def test_a_run_says_what_it_took(automatic):
    (cell,) = (automatic.folder / "runs").iterdir()
    cost = read_cost(cell)
    assert 0 < cost.seconds_trained < cost.seconds
    assert cost.peak_memory_bytes > 50e6


def test_clicks_add_up_to_what_evaluate_clicks_says(finished, tmp_path):
    run = finished.run.derive(tmp_path / "clicked", finished.run.settings)
    evaluate_clicks(run, num_clicks=1, with_base=False)
    rows = {(row.start, row.method): row for row in read_clicks(run) if row.clicks == 1}
    totals = total_clicks(read_click_scores(run))
    assert {method for _, method in rows} == {"tuned"}
    for (start, method), row in rows.items():
        own = [one for one in totals if (one.prompt, one.method, one.clicks) == (start, method, 1)]
        assert sum(one.iou for one in own) / sum(one.count for one in own) == pytest.approx(
            row.mean_iou
        )
        assert np.mean([one.msa for one in own]) == pytest.approx(row.msa)


SPLITS = {
    "a stack": ((8, 96, 96), 'split.kind="given"', 'split.train="1-3"', 'split.test="5-8"'),
    "halves of one section": ((1, 96, 192), "split.validation_fraction=0.2"),
    "a slab": ((8, 96, 96), "split.test_fraction=0.4"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_a_shared_volume_is_that_of_a_run_that_prepared_its_own(case, base_model, tmp_path):
    shape, *changes = SPLITS[case]
    sources = write_phantom(tmp_path / "data", shape_zyx=shape)
    settings = short_settings(base_model)
    changed = override_settings(settings, changes)
    donor = prepare(sources, tmp_path / "donor", settings)
    before = contents(donor.prepared_folder)
    run = Run.create(tmp_path / "shared", changed)
    assert share_prepared(run, donor, sources)
    own = prepare(sources, tmp_path / "own", changed)
    assert contents(run.prepared_folder) == contents(own.prepared_folder)
    assert contents(donor.prepared_folder) == before
    facts = {name: fact for name, fact in own.provenance().items() if name.startswith("volume")}
    assert {name: run.provenance()[name] for name in facts} == facts


def test_a_volume_to_report_on_is_shared_too(base_model, tmp_path):
    first = write_phantom(tmp_path / "a", shape_zyx=(4, 96, 96))
    second = write_phantom(tmp_path / "b", shape_zyx=(2, 96, 96), seed=4)
    sources = Sources(
        images=first.images,
        masks=first.masks,
        test_images=second.images,
        test_masks=second.masks,
    )
    settings = short_settings(base_model)
    donor = prepare(sources, tmp_path / "donor", settings)
    changed = override_settings(settings, ["split.validation_fraction=0.5"])
    run = Run.create(tmp_path / "shared", changed)
    assert share_prepared(run, donor, sources)
    own = prepare(sources, tmp_path / "own", changed)
    assert contents(run.prepared_folder) == contents(own.prepared_folder)


def test_whole_sections_are_not_made_of_halves(base_model, tmp_path):
    sources = write_phantom(tmp_path / "data", shape_zyx=(2, 192, 192))
    settings = short_settings(base_model)
    donor = prepare(sources, tmp_path / "donor", settings)
    given = ['split.kind="given"', 'split.train="1"', 'split.test="2"']
    run = Run.create(tmp_path / "run", override_settings(settings, given))
    assert not share_prepared(run, donor, sources)
    assert not run.prepared_folder.exists()
