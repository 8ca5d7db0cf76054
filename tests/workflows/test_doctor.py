"""Damage is found, explained, and mended where that loses nothing; a healthy folder has none."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time

import numpy as np
import pytest

from mitosam.embeddings import CacheSettings, EmbeddingCache
from mitosam.errors import InputNotFoundError, OutputInUseError
from mitosam.geometry import ModelFrame
from mitosam.inference.block_array import BlockArray
from mitosam.inference.blocks import sections_grid
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.storage import sole_writer
from mitosam.ui.session.store import AnnotationStore
from mitosam.workflows.doctor import doctor, work_folder_of
from mitosam.workflows.runs import Run
from mitosam.workflows.segment import segment
from tests.tiny_runs import contents
from tests.tiny_segmenter import write_tuned


def flip(path, place=-40):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def damage(found):
    return [one for one in found.findings if one.severity == "damage"]


def looked_at(path, **options):
    """What is found, of a look that changes nothing."""
    before = contents(path)
    found = doctor(path, **options)
    if not options:
        assert contents(path) == before
    return found


@pytest.fixture
def run(tmp_path, finished):
    shutil.copytree(finished.run.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


@pytest.fixture
def cache(tmp_path):
    cache = EmbeddingCache(
        CacheSettings(folder=tmp_path / "cache"),
        model_name="tiny",
        weights_hash="ab" * 32,
        precision="fp32",
        encode=lambda pixels, _: np.full((4, 16, 16), pixels.mean() / 255),
    )
    for value in range(3):
        cache.fill_one(np.full((8, 8), value, np.uint8), ModelFrame((0, 0), 8, 16))
    return tmp_path / "cache"


def test_a_finished_run_is_well(run):
    found = looked_at(run.folder)
    assert (found.kinds, found.findings, found.is_well) == (("run",), (), True)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("settings.toml", "no command can go on"),
        ("run.json", "no command can go on"),
        ("prepared/parts.json", "nothing can be trained"),
        ("prepared/volume/images.npy", "nothing can be trained"),
        ("prepared/volume/prepared.json", "nothing can be trained"),
        ("model.safetensors", "cannot be used"),
        ("evaluation/tuned.csv", "scored again"),
        ("evaluation/base_masks.npy", "scored again"),
    ],
)
def test_each_file_of_a_run_that_is_read_again_is_checked(run, name, word):
    flip(run.folder / name)
    found = looked_at(run.folder)
    assert not found.is_well
    assert word in damage(found)[0].means
    assert damage(found)[0].way_out


def test_what_has_not_ended_is_said_and_is_no_damage(run):
    (run.evaluation_folder / "tuned.csv").unlink()
    (run.evaluation_folder / "tuned.json").unlink()
    found = looked_at(run.folder)
    assert found.is_well
    assert [one.what for one in found.findings] == ["the tuned model is not scored"]
    run.tuned_weights.unlink()
    assert [one.what for one in looked_at(run.folder).findings] == ["it is not trained"]


def test_damaged_scores_and_checkpoints_are_removed_only_when_asked(run):
    shutil.copyfile(run.tuned_weights, run.checkpoint)
    flip(run.checkpoint)
    flip(run.evaluation_folder / "base.csv")
    assert len(damage(looked_at(run.folder))) == 2
    mended = doctor(run.folder, repair=True)
    assert mended.is_well
    assert set(mended.repaired) == {run.checkpoint, run.evaluation_folder / "base.json"}
    assert damage(looked_at(run.folder)) == []


def test_leftovers_and_dead_locks_are_removed_and_live_ones_respected(run):
    half = run.folder / ".model.safetensors.x.part.safetensors"
    half.write_bytes(b"half")
    os.utime(half, (time.time() - 9000,) * 2)
    lock = run.folder.with_name(".run.lock-1-00000000")
    lock.write_text("{}")
    os.utime(lock, (0, 0))
    found = looked_at(run.folder)
    assert found.is_well
    assert {one.path for one in found.findings} == {half, lock}
    with sole_writer(run.folder), pytest.raises(OutputInUseError):
        doctor(run.folder, repair=True)
    doctor(run.folder, repair=True)
    assert not half.exists()
    assert not lock.exists()


def test_damaged_embeddings_are_found_and_removed(cache):
    assert looked_at(cache).kinds == ("embedding cache",)
    victim = sorted(cache.rglob("*.safetensors"))[1]
    flip(victim)
    found = looked_at(cache)
    assert [one.path for one in damage(found)] == [victim]
    assert doctor(cache, repair=True).repaired == (victim,)
    assert looked_at(cache).is_well
    assert len(list(cache.rglob("*.safetensors"))) == 2


def test_a_segmentation_is_checked_chunk_by_chunk_and_against_its_table(
    tmp_path, sources, base_model
):
    model = write_tuned(tmp_path / "model.safetensors", base_model)
    out = segment(sources.images, tmp_path / "out", model=model).out
    assert looked_at(out).is_well
    table = out / "mitochondria.csv"
    text = table.read_text()
    table.write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert "1 more" in damage(looked_at(out))[0].what
    table.write_text(text)
    flip(max((out / "labels.ome.zarr").glob("0/c/**/*"), key=lambda p: p.is_file()), 12)
    assert "level 0, the chunk from voxel (0, 0, 0)" in damage(looked_at(out))[0].what
    (out / "sections.csv").unlink()
    assert "it is missing" in [one.what for one in damage(looked_at(out))]


def test_blocks_of_a_segmentation_that_has_not_ended_are_checked(tmp_path):
    work = work_folder_of(tmp_path / "out")
    (work / "result").mkdir(parents=True)
    (work / "identity.txt").write_text("x")
    blocks = BlockArray(work / "maps" / "maps", sections_grid((4, 64, 64), 2), np.uint8)
    for number in range(2):
        blocks.write(number, np.full((1, 2, 64, 64), number + 1, np.uint8))
    found = doctor(tmp_path / "out")
    assert found.kinds == ("segmentation that has not ended",)
    assert [one.what for one in found.findings] == ["2 blocks are done"]
    flip(blocks.folder / "done" / "000000001", 3)
    found = doctor(tmp_path / "out")
    assert [one.path.name for one in damage(found)] == ["000000001"]
    assert doctor(tmp_path / "out", repair=True).is_well
    assert blocks.missing() == [1]


def test_an_ome_zarr_with_a_cut_chunk_is_damaged(tmp_path):
    sections = np.random.default_rng(0).integers(0, 9, (4, 40, 40), np.uint8)
    spec = VolumeSpec(shape_zyx=(4, 40, 40), dtype=np.dtype(np.uint8), kind="image")
    write_ome_zarr(tmp_path / "em.ome.zarr", sections, spec)
    assert looked_at(tmp_path / "em.ome.zarr").is_well
    chunk = next(p for p in (tmp_path / "em.ome.zarr" / "0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-5])
    assert not looked_at(tmp_path / "em.ome.zarr").is_well


def test_a_session_with_labels_that_cannot_be_read_is_damaged(tmp_path):
    folder = tmp_path / "em.mitosam"
    store = AnnotationStore(folder / "annotations.sqlite", (2, 50, 50))
    with store.edit("paint") as edit:
        edit.paint(1, 5, 5, np.full((9, 9), 7, np.uint32))
    store.close()
    assert looked_at(folder).kinds == ("session",)
    assert looked_at(folder).is_well
    database = sqlite3.connect(folder / "annotations.sqlite")
    database.execute("UPDATE blocks SET ids = x'00112233'")
    database.commit()
    database.close()
    (one,) = damage(looked_at(folder))
    assert "of section 2 cannot be read" in one.what
    (folder / "annotations.sqlite").write_bytes(b"no database at all" * 99)
    assert not looked_at(folder).is_well


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputNotFoundError, match="does not exist; give a run"):
        doctor(tmp_path / "nowhere")


def test_the_findings_are_plain_enough_for_json(run, mitosam_json):
    flip(run.folder / "evaluation" / "base.csv")
    code, found = mitosam_json("doctor", run.folder, "--json")
    assert (code, found["is_well"]) == (1, False)
    assert found["findings"][0]["means"] == "it is scored again"
    code, found = mitosam_json("doctor", run.folder, "--json", "--repair")
    assert (code, found["is_well"]) == (0, True)


@pytest.fixture
def mitosam_json(monkeypatch, capsys):
    def call(*arguments):
        from mitosam.cli import main

        monkeypatch.setattr("sys.argv", ["mitosam", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return call
