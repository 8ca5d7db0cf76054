from __future__ import annotations

import csv
import json
import math
import shutil
from collections import Counter

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from mitosam.errors import InputError, InputNotFoundError, ModelError, SettingsError
from mitosam.evaluation.automatic import score_automatic
from mitosam.evaluation.sections import score_sections
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.map_store import MapStore
from mitosam.models.tuned import add_head, load_head, read_tuned_info
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.automatic_report import automatic_content, write_automatic_report
from mitosam.workflows.automatic_results import (
    LABELS,
    RECORD,
    read_automatic,
    read_confidence,
    write_scores,
)
from mitosam.workflows.calibrate import choose_settings, training_sizes, validation_sections
from mitosam.workflows.evaluate import evaluate
from mitosam.workflows.evaluate_automatic import check_automatic, evaluate_automatic
from mitosam.workflows.prepare import prepare
from mitosam.workflows.report import report
from mitosam.workflows.rival import read_rival_info
from mitosam.workflows.runs import Run
from mitosam.workflows.transfer import transfer
from mitosam.workflows.truth import smallest_sizes, true_instances
from tests.automatic_runs import head_settings, train_run
from tests.tiny_runs import VOXEL_SIZE_NM, KillAt, Remembered, contents, write_phantom, write_stacks

CUT = (10, 96, 96)


class Counted(Remembered):
    """Progress that counts the items of each loop."""

    def __init__(self) -> None:
        super().__init__()
        self.items: Counter[str] = Counter()

    def track(self, items, description, *, total=None, unit="it"):
        for item in items:
            self.items[description] += 1
            yield item


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("volume"), shape_zyx=CUT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model, volume):
    out = tmp_path_factory.mktemp("trained") / "run"
    return train_run(volume, out, head_settings(base_model))


@pytest.fixture(scope="module")
def scored(tmp_path_factory, trained):
    """A run that was scored without prompts; tests read it and write elsewhere."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(trained.folder, folder)
    evaluate_automatic(Run.open(folder))
    return Run.open(folder)


@pytest.fixture
def run(tmp_path, scored):
    shutil.copytree(scored.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


def copy(run, folder):
    shutil.copytree(run.folder, folder)
    return Run.open(folder)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(run):
    """All that was found and scored, but for times, of which TIFF files hold one too."""
    found = contents(run.automatic_folder(""))
    found = {name: text for name, text in found.items() if not name.endswith((RECORD, LABELS))}
    for path in run.automatic_folder("").glob(f"*/{LABELS}"):
        found[path.parent.name] = tifffile.imread(path).tobytes()
    tables = {path.name: path.read_bytes() for path in run.folder.glob("automatic*.csv")}
    return found | tables


def without_checksums(run):
    """The run as an older version left it."""
    for path in run.automatic_folder("").glob(f"*/{RECORD}"):
        record = json.loads(path.read_text("utf-8"))
        kept = {name: value for name, value in record.items() if name not in ("checksum", "files")}
        path.write_text(json.dumps(kept), encoding="utf-8")


def replace_labels(run, labels):
    without_checksums(run)
    for path in run.automatic_folder("").glob(f"*/{LABELS}"):
        tifffile.imwrite(path, labels.astype(np.uint32), photometric="minisblack")


def test_every_method_has_a_line_and_each_of_its_sections_too(scored):
    rows = rows_of(scored.folder / "automatic.csv")
    assert [row["method"] for row in rows] == ["head", "prompted", "U-Net"]
    assert {(row["first_section"], row["last_section"]) for row in rows} == {("8", "9")}
    sections = [
        (row["method"], row["section"]) for row in rows_of(scored.folder / "automatic_sections.csv")
    ]
    assert sections == [(m, z) for m in ("head", "prompted", "U-Net") for z in ("8", "9")]
    full = json.loads((scored.folder / "automatic.json").read_text())
    assert [one["method"] for one in full] == ["head", "prompted", "U-Net"]
    assert all((scored.folder / one["labels"]).is_file() for one in full)


def test_scores_are_of_the_saved_labels_and_the_masks_as_they_were_given(scored, volume):
    truth = tifffile.imread(volume.masks)[8:10]
    for score in read_automatic(scored):
        expected = score_automatic(tifffile.imread(score.labels), truth, VOXEL_SIZE_NM)
        assert score.scores.instances == expected.instances
        assert score.scores.foreground == expected.foreground
        assert score.scores.surfaces == expected.surfaces


def test_each_instance_has_a_confidence_and_the_page_says_what_it_is_worth(scored):
    judged = 0
    for score in read_automatic(scored):
        confidence = read_confidence(score.labels.parent)
        assert set(confidence) == set(np.unique(tifffile.imread(score.labels)).tolist()) - {0}
        assert all(0 <= sure <= 1 for sure in confidence.values())
        found = score.scores.confidence
        assert (found.count if found else 0) == len(confidence)
        judged += found is not None
    page = (scored.folder / "automatic.html").read_text("utf-8")
    assert ("Are the surer finds the better ones?" in page) == (judged > 0)


def test_labels_from_before_confidence_was_kept_are_scored_without(run):
    without_checksums(run)
    for path in run.automatic_folder("").glob("*/confidence.csv"):
        path.unlink()
    scores = read_automatic(run)
    assert {score.scores.confidence for score in scores} == {None}
    write_scores(run.folder, scores)
    assert rows_of(run.folder / "automatic.csv")[0]["mean_confidence"] == ""


def test_the_truth_in_the_place_of_the_labels_scores_1(run, volume):
    replace_labels(run, tifffile.imread(volume.masks)[8:10])
    scores = read_automatic(run)
    assert {score.scores.instances.panoptic_quality for score in scores} == {1.0}
    assert {score.scores.section_means.msa.mean for score in scores} == {1.0}
    content = automatic_content(run, scores)
    assert {row.count_error for row in content.methods} == {0}
    assert all("0 false, 0 missed" in picture.caption for picture in content.pictures)


def test_what_was_segmented_and_chosen_is_not_computed_again(run):
    before, progress = results(run), Counted()
    evaluate_automatic(run, progress=progress)
    assert results(run) == before
    assert set(progress.items) == {"scoring without prompts"}


def test_a_method_that_comes_later_leaves_the_others_alone(run):
    progress = Counted()
    scores = evaluate_automatic(run, methods=["grid"], rival="none", progress=progress)
    assert [score.method for score in scores] == ["head", "prompted", "grid", "U-Net"]
    segmented = {title for title in progress.items if title.startswith("segmenting")}
    assert segmented == {"segmenting (grid)"}


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


@pytest.mark.parametrize(
    "text", ["choosing thresholds (prompted)", "segmenting (head)", "segmenting (U-Net)"]
)
def test_an_evaluation_that_was_killed_goes_on_and_ends_the_same(tmp_path, trained, scored, text):
    run = copy(trained, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        evaluate_automatic(run, progress=KillAt(text, item=1))
    evaluate_automatic(run)
    assert results(run) == results(scored)


def test_thresholds_are_kept_with_the_model_and_beside_the_rival(scored):
    own = AutomaticInfo.parse(read_tuned_info(scored.tuned_weights).automatic_json)
    assert set(own.instances) == {"head", "prompted"}
    assert own.preferred in own.instances
    rival = read_rival_info(scored)
    assert set(rival.instances) == {"head"}
    used = {score.method: score.record.instances for score in read_automatic(scored)}
    assert used == own.instances | {"U-Net": rival.instances["head"]}


def test_the_prompted_method_alone_calibrates_the_head_that_it_starts_from(tmp_path, trained):
    run = copy(trained, tmp_path / "run")
    (score,) = evaluate_automatic(run, methods=["prompted"], rival="none")
    assert score.method == "prompted"
    info = AutomaticInfo.parse(read_tuned_info(run.tuned_weights).automatic_json)
    assert set(info.instances) == {"head", "prompted"}


def test_a_derived_run_takes_thresholds_and_rival_from_its_source(tmp_path, scored):
    before = contents(scored.folder)
    derived = scored.derive(tmp_path / "derived", scored.settings)
    progress = Counted()
    scores = evaluate_automatic(derived, progress=progress)
    assert not any("choosing" in title or "training" in title for title in progress.items)
    assert [s.scores for s in scores] == [s.scores for s in read_automatic(scored)]
    assert contents(scored.folder) == before
    assert (derived.folder / "automatic.html").exists()


def test_a_derived_run_never_trains_a_rival_into_its_source(tmp_path, trained):
    before = contents(trained.folder)
    derived = trained.derive(tmp_path / "derived", trained.settings)
    progress = Remembered()
    scores = evaluate_automatic(derived, methods=["head"], progress=progress)
    assert [score.method for score in scores] == ["head"]
    assert any("no U-Net stands beside the model" in text for text in progress.said)
    messages = automatic_content(derived, scores).messages
    assert any("No validation sections chose the thresholds of Inst" in text for text in messages)
    assert contents(trained.folder) == before


def test_another_volume_is_scored_with_the_thresholds_and_the_rival_of_the_source(tmp_path, scored):
    other = write_phantom(tmp_path / "other", seed=8, shape_zyx=(3, 96, 96))
    run = transfer(scored.folder, other.images, other.masks, tmp_path / "out", sections="2-3")
    progress = Counted()
    scores = evaluate_automatic(run, progress=progress)
    assert not any("choosing" in title or "training" in title for title in progress.items)
    assert [score.method for score in scores] == ["head", "prompted", "U-Net"]
    assert {score.sections for score in scores} == {range(1, 3)}
    assert [s.record.instances for s in scores] == [
        s.record.instances for s in read_automatic(scored)
    ]
    html = (run.folder / "automatic.html").read_text()
    assert "on validation sections of the volume that the model was trained on" in html


def test_a_model_file_by_itself_has_no_rival_and_that_is_said(tmp_path, scored, volume):
    alone = tmp_path / "alone.safetensors"
    shutil.copyfile(scored.tuned_weights, alone)
    run = transfer(alone, volume.images, volume.masks, tmp_path / "out", sections="9-10")
    scores = evaluate_automatic(run)
    assert [score.method for score in scores] == ["head", "prompted"]
    assert [s.scores for s in scores] == [s.scores for s in read_automatic(scored)[:2]]
    assert "No U-Net stands beside these methods" in (run.folder / "automatic.html").read_text()


@pytest.fixture(scope="module")
def in_slabs(tmp_path_factory, base_model, volume):
    """A run of binary masks that scores two slabs and has no validation sections."""
    folder = tmp_path_factory.mktemp("slabs")
    masks = tifffile.imread(volume.masks) > 0
    sources = write_stacks(folder / "data", tifffile.imread(volume.images), masks)
    overrides = ('split.validation=""', 'split.test="7,9-10"')
    run = train_run(sources, folder / "run", head_settings(base_model, *overrides))
    evaluate_automatic(run, methods=["head"])
    return run


def test_slabs_each_have_a_line_and_nothing_is_pooled(in_slabs):
    rows = rows_of(in_slabs.folder / "automatic.csv")
    assert [(r["method"], r["first_section"], r["last_section"]) for r in rows] == [
        *(("head", "6", "6"), ("head", "8", "9")),
        *(("U-Net", "6", "6"), ("U-Net", "8", "9")),
    ]
    content = automatic_content(in_slabs, read_automatic(in_slabs))
    assert {row.place for row in content.methods} == {
        "images, section 7",
        "images, sections 9 to 10",
    }
    html = (in_slabs.folder / "automatic.html").read_text()
    assert "nothing is pooled over them" in html
    assert "Scored in 2 places, each by itself" in html


def test_binary_masks_have_the_pieces_of_the_scored_slab_for_truth(in_slabs):
    masks = np.asarray(in_slabs.parts()[0].volume.labels)[8:10] > 0
    scores = [s for s in read_automatic(in_slabs) if s.sections == range(8, 10)]
    import cc3d

    assert {s.scores.instances.num_true for s in scores} == {
        int(cc3d.connected_components(masks, connectivity=26).max())
    }
    assert (
        "mitochondria that touch there count as one"
        in (in_slabs.folder / "automatic.html").read_text()
    )


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


def test_the_page_says_where_thresholds_were_chosen_and_shows_the_preferred_method(scored):
    scores = read_automatic(scored)
    content = automatic_content(scored, scores)
    assert content.thresholds_from == "on validation sections 6 to 7 of images"
    info = AutomaticInfo.parse(read_tuned_info(scored.tuned_weights).automatic_json)
    assert content.pictures_of == info.preferred
    assert [picture.title.split(":")[0] for picture in content.pictures] == ["Best", "Worst"]
    page = write_automatic_report(scored, scores)
    assert page == scored.folder / "automatic.html"
    assert "No prompts were used." in page.read_text()


def test_a_leaky_split_is_told_first(tmp_path, base_model, volume):
    settings = head_settings(base_model, 'split.test="8-10"')
    run = train_run(volume, tmp_path / "run", settings)
    scores = evaluate_automatic(run, methods=["head"], rival="none")
    messages = automatic_content(run, scores).messages
    assert any(text.startswith("LEAKY SPLIT") for text in messages)


def test_the_report_has_a_section_of_what_was_found_without_prompts(run, scored):
    evaluation = evaluate(run)
    text = report(run, evaluation).read_text()
    assert text.count('id="automatic"') == 1
    assert "Found without prompts" in text
    assert "never comparable with scores under prompts" in text
    assert 'id="automatic"' not in report(run, evaluation, []).read_text()


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


def test_a_damaged_choice_is_made_again_and_a_damaged_rival_is_named(run):
    (path,) = run.automatic_folder("").glob("mitosam-head-validation/choice.json")
    text = path.read_text()
    path.write_text(text[:9])
    run.rival_weights("unet").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"unet\.safetensors"):
        evaluate_automatic(run)
    assert path.read_text() == text


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
