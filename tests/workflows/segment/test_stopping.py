"""A stop, at any place, changes nothing; and what is in the way is left alone."""

from __future__ import annotations

import shutil

import pytest
import tifffile

from mitosam.errors import OutputExistsError, StorageError
from mitosam.progress import SILENT
from mitosam.storage import write_text
from mitosam.workflows import segment as segment_module
from mitosam.workflows.segment_folder import RESULTS, WorkFolder
from tests.full_disk import no_file_above
from tests.segmentations import results, run
from tests.tiny_runs import KillAt, Remembered, contents
from tests.tiny_segmenter import write_tuned


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("checking images", 0),
        ("segmenting (head)", 3),
        ("finding instances", 0),
        ("connecting instances", 0),
        ("writing labels", 0),
        ("writing image", 0),
        ("counting voxels", 0),
        ("measuring instances", 0),
        ("drawing previews", 2),
        ("drawing the report", 0),
    ],
)
def test_a_stopped_segmentation_ends_at_the_same_bytes(
    tmp_path, images, model, base_model, expected, text, item
):
    wanted = {"tiff": True, "probability": True}
    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path / "out", model, base_model, progress=KillAt(text, item), **wanted)
    assert not (tmp_path / "out").exists()
    progress = Remembered()
    run(images, tmp_path / "out", model, base_model, progress=progress, **wanted)
    assert ("going on with a segmentation that was stopped" in progress.said) == (
        text != "checking images"
    )
    assert results(tmp_path / "out") == results(expected.out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_stop_between_the_last_moves_is_taken_up(
    tmp_path, images, model, base_model, expected, monkeypatch
):
    out = tmp_path / "out"
    out.mkdir()  # empty, so it may be written to

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(out), "rename", stop)
        run(images, out, model, base_model, tiff=True, probability=True)
    run(images, out, model, base_model, tiff=True, probability=True)
    assert results(out) == results(expected.out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_resumed_segmentation_writes_what_is_asked_for_now(
    tmp_path, images, model, base_model, expected
):
    with pytest.raises(KeyboardInterrupt):
        run(
            images, tmp_path / "out", model, base_model, tiff=True, probability=True,
            progress=KillAt("drawing previews", 1),
        )  # fmt: skip
    run(images, tmp_path / "out", model, base_model)
    same = {n: d for n, d in results(expected.out).items() if not n.startswith("probability")}
    del same["labels.tif"]
    assert results(tmp_path / "out") == same


def test_another_model_or_method_after_a_stop_starts_anew_and_says_so(
    tmp_path, images, model, base_model, expected
):
    other = write_tuned(tmp_path / "other.safetensors", base_model, seed=5)
    for method, weights in (("head", other), ("prompted", model)):
        with pytest.raises(KeyboardInterrupt):
            run(
                images, tmp_path / "out", weights, base_model, method=method,
                progress=KillAt("writing labels", 0),
            )  # fmt: skip
    progress = Remembered()
    run(images, tmp_path / "out", model, base_model, tiff=True, probability=True, progress=progress)
    assert any("starting anew" in line for line in progress.said)
    assert results(tmp_path / "out") == results(expected.out)


def test_a_section_that_was_mended_after_a_stop_is_segmented_anew(
    tmp_path, images, model, base_model
):
    stack = tifffile.imread(images)
    path = tmp_path / "em.tif"
    tifffile.imwrite(path, stack)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out", model, base_model, progress=KillAt("segmenting (head)", 3))
    stack[2] = 255 - stack[2]
    tifffile.imwrite(path, stack)
    progress = Remembered()
    run(path, tmp_path / "out", model, base_model, progress=progress)
    assert any("starting anew" in line for line in progress.said)


def test_a_folder_that_is_in_the_way_is_left_alone(tmp_path, images, model, base_model):
    work = tmp_path / ".out.work"
    work.mkdir()
    (work / "thesis.txt").write_text("x")
    with pytest.raises(OutputExistsError, match="needed to work in and holds something else"):
        run(images, tmp_path / "out", model, base_model)
    assert contents(tmp_path) == {".out.work/thesis.txt": b"x"}


def test_what_is_in_out_is_left_alone(tmp_path, images, model, base_model):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(OutputExistsError):
        run(images, tmp_path / "out", model, base_model)
    assert contents(tmp_path) == {"out/thesis.txt": b"x"}


def test_a_full_disk_is_one_line_and_freed_space_lets_it_go_on(
    tmp_path, images, model, base_model, expected
):
    wanted = {"tiff": True, "probability": True}
    with no_file_above(20_000), pytest.raises(OSError, match="free some space"):
        run(images, tmp_path / "out", model, base_model, **wanted)
    run(images, tmp_path / "out", model, base_model, **wanted)
    assert results(tmp_path / "out") == results(expected.out)


@pytest.mark.parametrize("name", ["labels.ome.zarr/0/zarr.json", "labels.ome.zarr/0/c", "seal"])
def test_a_finished_volume_that_was_damaged_before_the_rest_ended_is_made_again(
    tmp_path, images, model, base_model, expected, name, caplog
):
    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path / "out", model, base_model, tiff=True, probability=True,
            progress=KillAt("measuring"))  # fmt: skip
    work = tmp_path / ".out.work"
    found = work / "labels.ome.zarr.seal" if name == "seal" else work / "result" / name
    victim = next(p for p in [found, *sorted(found.rglob("*"))] if p.is_file())
    content = victim.read_bytes()
    victim.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    run(images, tmp_path / "out", model, base_model, tiff=True, probability=True)
    assert "is not as it was finished, and is made again" in caplog.text
    assert results(tmp_path / "out") == results(expected.out)


def test_a_result_of_which_a_part_went_away_is_not_handed_over(
    tmp_path, images, model, base_model, expected, monkeypatch
):
    """As a disk does that is lost while it is written: what is written then makes new folders."""
    out = tmp_path / "out"
    work, away = tmp_path / ".out.work", tmp_path / "away"
    draw = segment_module._draw

    def lose(*given):
        draw(*given)
        work.rename(away)
        write_text(work / "result" / "report.html", "what is written next")

    monkeypatch.setattr(segment_module, "_draw", lose)
    with pytest.raises(StorageError, match="went away while it was written"):
        run(images, out, model, base_model, tiff=True, probability=True)
    assert not out.exists() or not any(out.iterdir())
    monkeypatch.undo()
    shutil.rmtree(work, ignore_errors=True)
    away.rename(work)
    run(images, out, model, base_model, tiff=True, probability=True)
    assert results(out) == results(expected.out)


@pytest.mark.parametrize("name", RESULTS)
def test_no_result_lacks_a_file(tmp_path, name):
    work = WorkFolder(tmp_path / "out", probability=False)
    work.take("all", SILENT)
    for other in set(RESULTS) - {name}:
        (work.result / other).write_text("x")
    with pytest.raises(StorageError, match=f"{name} is missing"):
        work.hand_over()
    (work.result / name).write_text("x")
    work.hand_over()
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(RESULTS)
