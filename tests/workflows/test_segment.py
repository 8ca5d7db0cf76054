"""Whole segmentations: what they write, from what, and that a stop changes nothing."""

from __future__ import annotations

import csv
import re
from itertools import islice
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from mitosam.data.intensity import Normalisation
from mitosam.data.phantom import make_phantom
from mitosam.errors import InputError, ModelError, OutputExistsError, SettingsError
from mitosam.inference import panes
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.io.open import open_volume
from mitosam.models.shipped_head import WORTH
from mitosam.reporting import turntable
from mitosam.reporting.words import three_figures
from mitosam.workflows import automatic_model
from mitosam.workflows.automatic_model import segmenter_of, suit_shipped_head
from mitosam.workflows.segment import segment
from mitosam.workflows.tuned_model import load_tuned_model
from tests.full_disk import no_file_above
from tests.tiny_runs import (
    VOXEL_SIZE_NM,
    KillAt,
    Remembered,
    contents,
    short_settings,
    write_phantom,
    write_stacks,
)
from tests.tiny_segmenter import write_tuned

SAME = re.compile(r"labels|probability|mitochondria|sections|previews")
FEW_POINTS = ("grid.points_per_side=2", "grid.pred_iou_thresh=0", "grid.stability_score_thresh=0")


@pytest.fixture(scope="module", autouse=True)
def few_frames():
    """A full turn takes most of the time of a volume as small as these."""
    draw_turn = turntable.draw_turn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turntable, "draw_turn", lambda *given: islice(draw_turn(*given), 1))
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("em"), shape_zyx=(5, 64, 80)).images


@pytest.fixture(scope="module")
def model(tmp_path_factory, base_model):
    return write_tuned(tmp_path_factory.mktemp("tuned") / "model.safetensors", base_model)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, images, model, base_model):
    """A segmentation that nothing stopped; tests read it and write elsewhere."""
    out = tmp_path_factory.mktemp("segmented") / "out"
    return run(images, out, model, base_model, tiff=True, probability=True)


def run(images, out, model, base_model, *, method="head", overrides=(), **more):
    return segment(
        images, out, model=model, method=method,
        settings=short_settings(base_model, *overrides), **more,
    )  # fmt: skip


def results(folder):
    """The volumes, tables and previews; report and facts tell the time."""
    found = {name: data for name, data in contents(folder).items() if SAME.match(name)}
    # A TIFF file has an identifier of its own.
    tiffs = {n: open_volume(folder / n).sha256() for n in found if n.endswith(".tif")}
    return found | tiffs


def whole(path):
    return np.stack(list(open_volume(path).sections()))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_ids_count_from_one_without_gaps_and_each_has_its_line(expected):
    labels = whole(expected.labels)
    num = int(labels.max())
    assert num > 3
    np.testing.assert_array_equal(np.unique(labels), np.arange(num + 1))
    rows = rows_of(expected.table)
    assert [int(row["instance"]) for row in rows] == list(range(1, num + 1))
    assert [int(row["num_voxels"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist()
    sections = rows_of(expected.out / "sections.csv")
    per_section = sum(len(np.unique(section[section > 0])) for section in labels)
    assert len(sections) == per_section


def test_tiff_and_zarr_are_read_back_alike_and_with_the_voxel_size(expected):
    for name, dtype in (("labels", np.uint32), ("probability", np.uint8)):
        zarred = open_volume(expected.out / f"{name}.ome.zarr")
        tiff = open_volume(expected.out / f"{name}.tif")
        assert zarred.dtype == tiff.dtype == dtype
        assert zarred.sha256() == tiff.sha256()
        assert zarred.voxel_size_nm == tiff.voxel_size_nm == pytest.approx(VOXEL_SIZE_NM)


def test_instances_lie_where_the_probability_is_high(expected):
    labels, probability = whole(expected.labels), whole(expected.out / "probability.ome.zarr")
    assert probability[labels > 0].min() >= 0.5 * 255 - 1
    means = [probability[labels == i].mean() / 255 for i in range(1, labels.max() + 1)]
    confidences = [float(row["confidence"]) for row in rows_of(expected.table)]
    np.testing.assert_allclose(confidences, means, rtol=1e-3)


def test_the_page_tells_each_instances_largest_section(expected):
    labels, size = whole(expected.labels), np.prod(VOXEL_SIZE_NM[1:]) / 1e6
    largest = {row.instance: row.largest_area_um2 for row in expected.instances}
    for instance, area in largest.items():
        assert area == pytest.approx((labels == instance).sum(axis=(1, 2)).max() * size)
    table = expected.report.read_text("utf-8").partition('id="largest"')[2]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*)</tr>", table)]
    shown = [row for row in cells if len(row) == 7][:10]
    biggest = sorted(expected.instances, key=lambda row: -row.num_voxels)[: len(shown)]
    assert [row[2] for row in shown] == [three_figures(row.largest_area_um2) for row in biggest]


def test_each_section_has_a_preview_and_the_page_needs_no_other_file(expected, images):
    previews = sorted((expected.out / "previews").iterdir())
    assert [path.name for path in previews] == [f"section_{z:04d}.jpg" for z in range(1, 6)]
    grey = tifffile.imread(images)
    assert all(iio.imread(path).shape == (*grey.shape[1:], 3) for path in previews)
    page = expected.report.read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']+""", page)
    assert "url(http" not in page


def test_nothing_else_is_left(expected):
    assert [path.name for path in expected.out.parent.iterdir()] == ["out"]
    assert {path.name.partition(".")[0] for path in expected.out.iterdir()} == {
        *("labels", "probability", "mitochondria", "sections", "previews", "report"),
        "segmentation",
    }


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


def as_folder(path, stack):
    path.mkdir()
    for z, section in enumerate(stack):
        iio.imwrite(path / f"section_{z:02d}.png", section)


def as_zarr(path, stack):
    spec = VolumeSpec(
        shape_zyx=stack.shape, dtype=stack.dtype, kind="image", voxel_size_nm=VOXEL_SIZE_NM
    )
    write_ome_zarr(path, stack, spec)


@pytest.mark.parametrize(("name", "write"), [("folder", as_folder), ("em.ome.zarr", as_zarr)])
def test_a_folder_and_an_ome_zarr_give_what_the_stack_gives(
    tmp_path, images, model, base_model, expected, name, write
):
    write(tmp_path / name, tifffile.imread(images))
    size = VOXEL_SIZE_NM if name == "folder" else None
    found = run(tmp_path / name, tmp_path / "out", model, base_model, voxel_size_nm=size)
    assert found.instances == expected.instances
    np.testing.assert_array_equal(whole(found.labels), whole(expected.labels))


def test_one_image_without_a_voxel_size_is_measured_in_pixels(tmp_path, images, model, base_model):
    iio.imwrite(tmp_path / "em.png", tifffile.imread(images)[2])
    progress = Remembered()
    found = run(tmp_path / "em.png", tmp_path / "out", model, base_model, progress=progress)
    assert any("no voxel size" in line and "--voxel-size" in line for line in progress.said)
    assert open_volume(found.labels).shape_zyx == (1, 64, 80)
    assert len(found.instances) > 1
    row = rows_of(found.table)[0]
    assert (row["volume_um3"], row["centroid_x_nm"]) == ("", "")
    assert float(row["centroid_x_px"]) > 0
    areas = [int(row["num_voxels"]) for row in rows_of(found.table)]
    assert min(areas) >= 12  # min_area_px, as the smallest volume means nothing here


@pytest.mark.parametrize("shape", [(2, 1, 70), (1, 1, 33), (3, 20, 20)])
def test_sections_of_any_size_are_segmented(tmp_path, images, model, base_model, shape):
    stack = tifffile.imread(images)[tuple(slice(0, side) for side in shape)]
    tifffile.imwrite(tmp_path / "em.tif", stack, photometric="minisblack")
    found = run(tmp_path / "em.tif", tmp_path / "out", model, base_model)
    assert open_volume(found.labels).shape_zyx == shape


def test_a_volume_without_a_find_has_empty_tables_and_a_page(tmp_path, images, base_model):
    none = ("grid.points_per_side=1", "grid.max_area_share=1e-9")
    found = run(images, tmp_path / "out", base_model, base_model, method="grid", overrides=none)
    assert found.instances == ()
    assert not whole(found.labels).any()
    assert rows_of(found.table) == []
    assert found.report.stat().st_size > 1000


def test_the_grid_needs_no_head_and_takes_its_settings(tmp_path, images, base_model):
    progress = Remembered()
    found = run(
        images, tmp_path / "out", base_model, base_model, method="grid", overrides=FEW_POINTS,
        progress=progress,
    )  # fmt: skip
    assert found.method == "grid"
    assert '"points_per_side": 2' in (found.out / "segmentation.json").read_text()
    with pytest.raises(ModelError, match=r"has no prompt-free head.*--method grid"):
        run(images, tmp_path / "head", base_model, base_model, method="auto")
    assert not (tmp_path / "head").exists()


def test_methods_work_as_in_the_training_but_for_what_is_named(tmp_path, base_model):
    trained = ("grid.points_per_side=5", "prompted.box_padding=0.2", "prompted.fuse=union")
    path = write_tuned(tmp_path / "m.safetensors", base_model, trained_with=trained)
    named = short_settings(base_model, "grid.points_per_batch=3", "prompted.fuse=replace")
    found = segmenter_of(load_tuned_model(path), path, named)
    assert (found.grid.points_per_side, found.grid.points_per_batch) == (5, 3)
    assert (found.prompted.box_padding, found.prompted.fuse) == (0.2, "replace")


def test_a_volume_of_other_numbers_than_the_training_is_measured_anew(
    tmp_path, images, model, base_model, caplog
):
    stack = tifffile.imread(images)
    tifffile.imwrite(tmp_path / "em.tif", stack.astype(np.uint16) * 257, photometric="minisblack")
    found = run(tmp_path / "em.tif", tmp_path / "out", model, base_model)
    assert "grey values are measured anew" in caplog.text
    assert '"kind": "percentile"' in (found.out / "segmentation.json").read_text()
    assert found.instances


def test_grey_values_are_stretched_as_in_the_training(tmp_path, images, base_model, expected):
    stretch = Normalisation(kind="percentile", low=0, high=255 * 257, dtype="uint16")
    model = write_tuned(tmp_path / "m.safetensors", base_model, normalisation=stretch)
    stack = tifffile.imread(images).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "em.tif", stack, photometric="minisblack")
    found = run(tmp_path / "em.tif", tmp_path / "out", model, base_model)
    np.testing.assert_array_equal(whole(found.labels), whole(expected.labels))


def test_what_is_wrong_in_the_last_section_is_found_before_the_first_is_segmented(
    tmp_path, images, model, base_model
):
    stack = tifffile.imread(images).astype(np.float32)
    stack[4, 3, 3] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", stack, photometric="minisblack")
    progress = Remembered()
    with pytest.raises(InputError, match=r"NaN"):
        run(tmp_path / "nan.tif", tmp_path / "out", model, base_model, progress=progress)
    assert not any(loop.startswith("segmenting") for loop in progress.loops)
    assert {path.name for path in tmp_path.iterdir()} == {"nan.tif"}


def test_a_voxel_size_that_contradicts_the_file_is_refused(tmp_path, images, model, base_model):
    with pytest.raises(SettingsError, match=r"says 10 x 10 x 10 nm.*says 30 x 8 x 8 nm"):
        run(images, tmp_path / "out", model, base_model, voxel_size_nm=(30.0, 8.0, 8.0))
    assert not list(tmp_path.iterdir())


def test_the_folder_one_stands_in_may_be_the_result(
    tmp_path, images, model, base_model, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run(images, Path(), model, base_model)
    assert (tmp_path / "here" / "mitochondria.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_the_embedded_model_segments_out_of_the_box_and_says_what_its_head_is_worth(tmp_path):
    """It was trained on phantoms, so that it finds the mitochondria of another one."""
    phantom = make_phantom((2, 256, 256), 77, (40.0, 5.0, 5.0))
    sources = write_stacks(tmp_path / "em", phantom.images, phantom.labels)
    heard = Remembered()
    found = segment(
        sources.images, tmp_path / "out", model="vit_t", voxel_size_nm=None, progress=heard
    )
    assert found.method == "head"
    assert WORTH in heard.said
    assert "trained on made-up volumes alone" in found.report.read_text("utf-8")
    mask, truth = whole(found.labels) > 0, phantom.labels > 0
    assert (mask & truth).sum() / (mask | truth).sum() > 0.7


def test_the_shipped_head_takes_the_volumes_own_grey_values(tmp_path):
    grey = np.full((2, 64, 64), 100, np.uint8)
    grey[:, ::2] = 140
    grey[:, :, 60:] = 0  # a black margin is no image
    tifffile.imwrite(tmp_path / "em.tif", grey, photometric="minisblack")
    usable = load_tuned_model("vit_t")
    plain = segmenter_of(usable, "vit_t", short_settings("vit_t"))
    suited = suit_shipped_head(plain, open_volume(tmp_path / "em.tif").section, 2, 2)
    assert (suited.head.shape.grey_mean, suited.head.shape.grey_std) == (120, 20)
    assert suited.head.network.shape == suited.head.shape
    assert suited.info.settings_of("head").z_radius == 2
    assert suited.info.settings_of("prompted") == suited.info.settings_of("head")


def test_what_has_no_structure_holds_nothing_and_its_tiles_are_encoded_once(
    tmp_path, images, model, base_model, monkeypatch
):
    stack = tifffile.imread(images)
    padded = np.zeros((7, 64, 400), np.uint8)
    padded[1:6, :, :80] = stack
    tifffile.imwrite(tmp_path / "em.tif", padded, photometric="minisblack")
    blank = []

    def encode_with(sam):
        def encode(pixels, frame):
            blank.append(pixels.min() == pixels.max())
            return sam.encode(sam.prepare(pixels, frame))[0]

        return encode

    monkeypatch.setattr(automatic_model, "encode_with", encode_with)
    found = run(tmp_path / "em.tif", tmp_path / "out", model, base_model, probability=True)
    assert sum(blank) <= 5 < blank.count(False)  # once in each section that has structure at most
    maps = whole(found.out / "probability.ome.zarr")
    assert not maps[[0, 6]].any()
    assert maps[1:6].any()


def test_two_processes_write_what_one_writes(tmp_path, images, model, base_model, expected):
    found = run(
        images, tmp_path / "out", model, base_model, tiff=True, probability=True, num_workers=2
    )
    assert found.instances == expected.instances
    assert results(tmp_path / "out") == results(expected.out)


@pytest.mark.parametrize("method", ["head", "prompted"])
def test_large_sections_are_segmented_pane_by_pane(
    tmp_path, images, model, base_model, method, monkeypatch
):
    """The head says the same of a section in one piece; the decoder but for what panes cut."""
    stack = np.tile(tifffile.imread(images)[:3], (1, 8, 8))  # 512 x 640
    as_zarr(tmp_path / "em.ome.zarr", stack)
    whole_maps = {}
    for pane_px in (2048, 256):
        monkeypatch.setattr(panes, "PANE_PX", pane_px)
        out = tmp_path / str(pane_px)
        run(tmp_path / "em.ome.zarr", out, model, base_model, method=method, probability=True)
        whole_maps[pane_px] = whole(out / "probability.ome.zarr").astype(int)
    difference = np.abs(whole_maps[2048] - whole_maps[256])
    assert whole_maps[2048].std() > 5
    # Random weights find things wider than what the second pane, from 512 on, sees of the first.
    alike = difference if method == "head" else difference[:, :, :512]
    assert alike.max() <= 1


def test_memory_changes_nothing(tmp_path, images, model, base_model, expected):
    found = run(
        images, tmp_path / "out", model, base_model, tiff=True, probability=True, memory_gb=1.2
    )
    assert found.instances == expected.instances
    np.testing.assert_array_equal(whole(found.labels), whole(expected.labels))


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
