"""Honest settings, prompts, tables and the files of runs and sessions, and reading them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import tifffile

from mitosam.config import RunSettings
from mitosam.config import read_settings as read_run_settings
from mitosam.data.prepared import PreparedVolume, prepare_volume
from mitosam.data.splits import Split
from mitosam.inference.blocks import sections_grid
from mitosam.inference.map_store import MapStore
from mitosam.io.open import open_volume
from mitosam.io.prompt_files import read_prompts as read_prompt_file
from mitosam.io.prompt_files import write_prompts
from mitosam.prompts import Prompts
from mitosam.reporting.tables import read_scores, write_scores_json
from mitosam.ui.session.kept import LABELS, kept_labels
from mitosam.ui.session.store import AnnotationStore
from mitosam.ui.session.tables import ObjectFacts
from mitosam.workflows.automatic_results import read_confidence as read_confidence_of
from mitosam.workflows.automatic_results import write_confidence
from mitosam.workflows.curves import read_curve
from mitosam.workflows.runs import Run
from mitosam.workflows.score_files import read_scores as read_score_rows
from mitosam.workflows.score_files import write_scores
from mitosam.workflows.study_file import read_study_file
from tests.evaluation.synthetic import make_score
from tests.fuzz.images import SHAPE, labels, volume


def settings(folder: Path) -> Path:
    (folder / "settings.toml").write_text(RunSettings().to_toml())
    return folder / "settings.toml"


def read_settings(path: Path) -> None:
    read_run_settings(path)


def study(folder: Path) -> Path:
    text = resources.files("mitosam").joinpath("studies/components.toml").read_text("utf-8")
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def read_study(path: Path) -> None:
    for factor in read_study_file(path).factor:
        factor.levels()


def _prompts() -> dict[int, Prompts]:
    boxes = np.array([[1.0, 2.0, 30.0, 41.5], [5.0, 6.0, 9.0, 10.0]])
    points = np.array([[[3.0, 4.0], [7.0, 8.0]]])
    asked = Prompts(points_xy=points, point_labels=np.array([[1, 0]]))
    return {0: Prompts(boxes_xyxy=boxes), 3: asked}


def prompts_csv(folder: Path) -> Path:
    write_prompts(folder / "prompts.csv", _prompts())
    return folder / "prompts.csv"


def prompts_json(folder: Path) -> Path:
    write_prompts(folder / "prompts.json", _prompts())
    return folder / "prompts.json"


def read_prompts(path: Path) -> None:
    read_prompt_file(path)


def scores_csv(folder: Path) -> Path:
    write_scores(folder / "base.csv", [make_score(50), make_score(70, section=2)])
    return folder / "base.csv"


def read_scores_csv(path: Path) -> None:
    read_score_rows(path)


def scores_json(folder: Path) -> Path:
    write_scores_json(folder / "scores.json", [make_score(50), make_score(70, section=2)])
    return folder / "scores.json"


def read_scores_json(path: Path) -> None:
    read_scores(path)


def confidence(folder: Path) -> Path:
    (folder / "a").mkdir()
    write_confidence(folder / "a", {1: 0.5, 2: 0.75, 9: 1.0})
    return folder / "a"


def read_confidence(path: Path) -> None:
    read_confidence_of(path)


def _prepare(source: Path, into: Path) -> None:
    for name, array in (("images", volume()), ("masks", labels())):
        tifffile.imwrite(source / f"{name}.tif", array, photometric="minisblack")
    prepare_volume(open_volume(source / "images.tif"), open_volume(source / "masks.tif"), into)
    for name in ("images", "masks"):
        (source / f"{name}.tif").unlink()


def prepared(folder: Path) -> Path:
    _prepare(folder, folder / "prepared")
    return folder / "prepared"


def read_prepared(path: Path) -> None:
    found = PreparedVolume.open(path)
    found.images[0].sum()
    found.labels[-1].max()
    assert found.normalisation is not None


def run(folder: Path) -> Path:
    made = Run.create(folder / "run", RunSettings())
    _prepare(folder, made.prepared_folder / "volume")
    made.write_parts(
        {"volume": Split(train=(0,), validation=(1,), test=(2,), unused=(), leaky=False, note="")}
    )
    made.training_curve.write_text(
        "step,epoch,seconds,loss,learning_rate,validation_dice,validation_iou\n8,1,2,0.5,1e-4,0.6,0.5\n"
    )
    return made.folder


def read_run(path: Path) -> None:
    opened = Run.open(path)
    for part in opened.parts():
        part.volume.images[0].sum()
    read_curve(opened.training_curve)


def blocks(folder: Path) -> Path:
    maps = np.stack([volume(), volume()[::-1]], axis=1)
    store = MapStore(folder / "maps", SHAPE, grid=sections_grid(SHAPE, 2))
    store.fill(maps.__getitem__, title="computing")
    return folder / "maps"


def read_blocks(path: Path) -> None:
    store = MapStore(path, SHAPE, grid=sections_grid(SHAPE, 2))
    store.check()
    if not store.maps.missing():
        for z in range(SHAPE[0]):
            store.section(z).max()


def session(folder: Path) -> Path:
    store = AnnotationStore(folder / LABELS, SHAPE)
    with store.edit("draw") as edit:
        for z in range(SHAPE[0]):
            edit.paint(z, 0, 0, labels()[z].astype(np.uint32))
        edit.describe(3, ObjectFacts(confidence=0.5))
        edit.finish(1, finished=True)
    store.note("model", "vit_t")
    store.close()
    return folder / LABELS


def read_session(path: Path) -> None:
    store = AnnotationStore(path, SHAPE)
    try:
        for z in range(SHAPE[0]):
            store.section(z)
            store.objects(z)
        store.annotated(), store.finished(), store.fact("model")
        store.undo()
        store.redo()
    finally:
        store.close()


def read_kept_labels(path: Path) -> None:
    kept = kept_labels(path.parent)
    for z in range(min(len(kept), SHAPE[0])):
        if np.prod(kept.shape_zyx[1:]) < 2**24:
            kept.section(z)
