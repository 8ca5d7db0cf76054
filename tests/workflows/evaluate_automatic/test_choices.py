"""Thresholds, and what they are chosen on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from mitosam.errors import ModelError
from mitosam.evaluation.sections import score_sections
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.map_store import MapStore
from mitosam.models.tuned import add_head, load_head, read_tuned_info
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.automatic_report import automatic_content
from mitosam.workflows.automatic_results import read_automatic
from mitosam.workflows.calibrate import choose_settings, training_sizes, validation_sections
from mitosam.workflows.evaluate_automatic import evaluate_automatic
from mitosam.workflows.rival import read_rival_info
from mitosam.workflows.truth import smallest_sizes, true_instances
from tests.automatic_runs import Counted, copy_run, results


def test_other_weights_are_segmented_and_calibrated_anew_and_the_rival_is_kept(run):
    before = results(run)
    head = load_head(run.tuned_weights)
    head.out.weight.data.neg_()
    add_head(run.tuned_weights, head)
    progress = Counted()
    scores = evaluate_automatic(run, methods=["head"], progress=progress)
    assert {"choosing thresholds (head)", "segmenting (head)"} <= set(progress.items)
    assert not any("prompted" in title or "U-Net" in title for title in progress.items)
    assert [score.method for score in scores] == ["head", "U-Net"]  # the prompted one is outdated
    after = results(run)
    rival = {name for name in before if name.startswith("unet")}
    assert rival
    assert all(after[name] == before[name] for name in rival)


def test_thresholds_are_kept_with_the_model_and_beside_the_rival(scored):
    own = AutomaticInfo.parse(read_tuned_info(scored.tuned_weights).automatic_json)
    assert set(own.instances) == {"head", "prompted"}
    assert own.preferred in own.instances
    rival = read_rival_info(scored)
    assert set(rival.instances) == {"head"}
    used = {score.method: score.record.instances for score in read_automatic(scored)}
    assert used == own.instances | {"U-Net": rival.instances["head"]}


def test_the_prompted_method_alone_calibrates_the_head_that_it_starts_from(tmp_path, trained):
    run = copy_run(trained, tmp_path / "run")
    (score,) = evaluate_automatic(run, methods=["prompted"], rival="none")
    assert score.method == "prompted"
    info = AutomaticInfo.parse(read_tuned_info(run.tuned_weights).automatic_json)
    assert set(info.instances) == {"head", "prompted"}


def test_without_validation_sections_thresholds_are_defaults_and_that_is_said(in_slabs):
    scores = read_automatic(in_slabs)
    assert not any(score.record.is_calibrated for score in scores)
    content = automatic_content(in_slabs, scores)
    assert content.thresholds_from == ""
    assert (
        "are the defaults: no validation sections chose them"
        in (in_slabs.folder / "automatic.html").read_text()
    )
    assert any("prepare the run with --validation" in text for text in content.messages)


def test_without_validation_sections_sizes_come_from_the_training_sections(in_slabs):
    info = AutomaticInfo.parse(read_tuned_info(in_slabs.tuned_weights).automatic_json)
    part = in_slabs.parts()[0]
    assert info.validation_sections == 0
    assert info.instances == {"head": training_sizes(part)}
    sizes = smallest_sizes(part.volume, part.split.train)
    assert info.instances["head"].min_area_px == sizes.area_px
    assert info.instances["head"].min_confidence == InstanceSettings().min_confidence > 0


def add_specks(found, truth, count, side):
    """Squares of grey value 190 in each section, away from all else."""
    for section, labels in zip(found, truth, strict=True):
        for _ in range(count):
            near = ndimage.maximum_filter((section > 0) | (labels > 0), 2 * side + 3)
            y, x = np.argwhere(~near[: 1 - side, : 1 - side])[0]
            section[y : y + side, x : x + side] = 190


def test_a_choice_weighs_foreground_as_much_as_instances(tmp_path, trained):
    """The largest instance is as unsure as three specks: mSA alone would give up all four."""
    part = trained.parts()[0]
    sections = validation_sections(part)
    truth = true_instances(part.volume, sections)
    ids, counts = np.unique(truth[truth > 0], return_counts=True)
    largest = ids[counts.argmax()]
    found = np.where(truth == largest, 190, np.where(truth > 0, 250, 0)).astype(np.uint8)
    add_specks(found, truth, 3, math.isqrt(training_sizes(part).min_area_px) + 2)
    store = MapStore(tmp_path, truth.shape)
    store.fill(lambda z: np.stack([found[z], np.zeros_like(found[z])]), title="")
    settings, score = choose_settings(store, part, sections)
    slices = settings.for_one_section().model_copy(update={"z_radius": settings.z_radius})

    def scores_at(confidence):
        labels = list(store.label(slices.model_copy(update={"min_confidence": confidence})))
        msa = np.mean([one.msa for one in score_sections(labels, truth)])
        mask, true = np.stack(labels) > 0, truth > 0
        return msa, (mask & true).sum() / (mask | true).sum()

    (unsure_msa, unsure_iou), (sure_msa, sure_iou) = scores_at(0.7), scores_at(0.9)
    assert sure_msa > unsure_msa
    assert sure_iou < unsure_iou
    assert settings.min_confidence == 0.7
    assert score == pytest.approx((unsure_msa + unsure_iou) / 2)


def test_a_damaged_choice_is_made_again_and_a_damaged_rival_is_named(run):
    (path,) = run.automatic_folder("").glob("mitosam-head-validation/choice.json")
    text = path.read_text()
    path.write_text(text[:9])
    run.rival_weights("unet").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"unet\.safetensors"):
        evaluate_automatic(run)
    assert path.read_text() == text
