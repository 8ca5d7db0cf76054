"""Honest results as folders hold them, what a stop leaves of them, and reading both."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from safetensors.torch import save

from mitosam.config import RunSettings
from mitosam.evaluation.bootstrap import Interval
from mitosam.evaluation.clicks import ClickSummary
from mitosam.evaluation.levels import SectionTotal
from mitosam.inference.blocks import square_grid
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.map_store import MapStore
from mitosam.io.open import open_volume
from mitosam.io.tables import write_csv, write_json, write_table
from mitosam.models.head import HeadShape
from mitosam.sealed_tensors import seal_tensors
from mitosam.storage import write_text
from mitosam.workflows.ablate_cells import COST, TOTALS, Cost, read_cost, read_totals
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.automatic_results import LABELS, RECORD, Record, read_record, write_record
from mitosam.workflows.doctor import doctor
from mitosam.workflows.evaluate import check_scored_files, read_masks
from mitosam.workflows.evaluate_clicks import SUMMARY, read_clicks
from mitosam.workflows.measure_blocks import measure_volume
from mitosam.workflows.rival import (
    RIVAL,
    SHAPE_KEY,
    UNet,
    read_rival,
    read_rival_info,
    save_rival_info,
)
from mitosam.workflows.runs import Run, read_object, write_object
from tests.fuzz.images import SHAPE, labels, volume, zarr_labels
from tests.fuzz.models import embedding
from tests.fuzz.texts import confidence, run, session

METHOD = "tuned"
SIZE_NM = (30.0, 8.0, 8.0)
INSTANCES = InstanceSettings(min_area_px=4, min_volume_voxels=8, min_confidence=0.0)
PIXELS_ALONE = HeadShape(
    section_offsets=(0,), embedding_channels=0, width=4, grey_mean=120.0, grey_std=30.0
)


def record(folder: Path) -> Path:
    made = confidence(folder)
    tifffile.imwrite(made / LABELS, labels(), photometric="minisblack")
    facts = Record(
        method="head", part="volume", sections=(0, 3), instances=INSTANCES, is_calibrated=True,
        model="0" * 64, seconds=1.5, segmented="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    write_record(made, facts)
    return made


def read_segmented(path: Path) -> None:
    if (path / RECORD).exists():
        read_record(path / RECORD)
        open_volume(path / LABELS).section(0)


def scored(folder: Path) -> Path:
    """What scoring leaves in a run: scores, masks, clicks."""
    made = Run.create(folder / "run", RunSettings())
    _write_scored(made)
    summary = ClickSummary(
        start="object-box", method=METHOD, clicks=1, num_objects=3, mean_iou=0.5, msa=0.5,
        interval=Interval(low=0.4, high=0.6, resampled="section"),
    )  # fmt: skip
    write_json(made.folder / SUMMARY, [summary, summary])
    return made.folder


def _write_scored(made: Run) -> None:
    made.evaluation_folder.mkdir()
    write_table(made.evaluation_folder / f"{METHOD}.csv", [{"section": 0, "method": METHOD}])
    side = made.settings.data.patch_px
    masks = np.packbits(np.ones((2, side * side), bool), axis=1)
    np.save(made.evaluation_folder / f"{METHOD}_masks.npy", masks)
    write_object(made.evaluation_folder / f"{METHOD}.json", {"weights": "0", "files": {}})


def read_scored(path: Path) -> None:
    opened = Run.open(path)
    known = opened.evaluation_folder / f"{METHOD}.json"
    if known.exists():
        check_scored_files(known, read_object(known))
    read_masks(opened, METHOD).sum()
    read_clicks(opened)


def rival(folder: Path) -> Path:
    made = Run.create(folder / "run", RunSettings())
    path = made.rival_weights(RIVAL)
    path.parent.mkdir()
    content = save(UNet(PIXELS_ALONE).state_dict(), {SHAPE_KEY: PIXELS_ALONE.model_dump_json()})
    path.write_bytes(seal_tensors(content))
    info = AutomaticInfo(instances={"head": INSTANCES}, validation_sections=2, scores={"head": 0.5})
    save_rival_info(made, info)
    return made.folder


def read_unet(path: Path) -> None:
    opened = Run.open(path)
    read_rival(opened)
    read_rival_info(opened)


def cell(folder: Path) -> Path:
    """What a study keeps of one run."""
    total = SectionTotal(
        prompt="patch-box", method=METHOD, clicks=0, volume="a", section=1, count=3,
        dice=2.5, iou=2.1, msa=1.5,
    )  # fmt: skip
    cost = Cost(seconds=1, seconds_trained=1, peak_memory_bytes=9, peak_device_bytes=0)
    made = folder / "cell"
    made.mkdir()
    write_csv(made / TOTALS, [total, total])
    write_json(made / COST, cost)
    return made


def read_cell(path: Path) -> None:
    if (path / COST).exists() and (path / TOTALS).exists():
        read_totals(path)
        read_cost(path)


def counted(folder: Path) -> Path:
    """A measurement that was stopped, and what it had counted."""
    made = folder / "measured"
    made.mkdir()
    tifffile.imwrite(made / LABELS, labels(), photometric="minisblack")
    measure(made)
    (made / "sections.csv").unlink()
    return made


def measure(path: Path) -> None:
    """As `mitosam measure` does it, going on with what is kept."""
    measure_volume(
        partial(open_volume, path / LABELS), path / "sections.csv", SIZE_NM,
        scratch=path / "kept", binary=True,
    )  # fmt: skip


def found(folder: Path) -> Path:
    """Instances of a segmentation that was stopped, block by block."""
    store = _store(folder / "maps")
    maps = np.stack([(labels() > 0) * 250, volume() // 8], axis=1).astype(np.uint8)
    store.fill(maps.__getitem__, title="computing")
    list(store.label(INSTANCES))
    return folder / "maps"


def read_found(path: Path) -> None:
    store = _store(path)
    store.check()
    if not store.maps.missing():
        list(store.label(INSTANCES))


def _store(folder: Path) -> MapStore:
    return MapStore(folder, SHAPE, label_grid=square_grid(SHAPE, 2, 1 << 20))


def work(folder: Path) -> Path:
    """The hidden folder of a segmentation that was stopped."""
    made = folder / ".out.work"
    made.mkdir()
    found(made)
    write_text(made / "identity.txt", "of this and that")
    return made


def segmentation(folder: Path) -> Path:
    """The folder of a segmentation, as far as it is looked at."""
    made = folder / "out"
    made.mkdir()
    zarr_labels(made).rename(made / "labels.ome.zarr")
    rows = [{"instance": number, "volume_voxels": 9} for number in (3, 7)]
    write_table(made / "mitochondria.csv", rows)
    for name in ("segmentation.json", "sections.csv", "report.html"):
        write_text(made / name, "{}")
    return made


def whole_run(folder: Path) -> Path:
    """A run with every kind of file that is looked at."""
    made = run(folder)
    _write_scored(Run.open(made))
    (made / "automatic").mkdir()
    record(folder).rename(made / "automatic" / "head")
    return made


def session_folder(folder: Path) -> Path:
    return session(folder).parent


def cache(folder: Path) -> Path:
    return embedding(folder).parents[2]


def examine(path: Path) -> None:
    """What `mitosam doctor` says; damage is something that it says, and no error."""
    doctor(path)
