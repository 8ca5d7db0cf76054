"""Runs with a prompt-free head of a few channels, trained in seconds."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import tifffile

from mitosam.config import RunSettings
from mitosam.workflows.automatic_results import LABELS, RECORD
from mitosam.workflows.head import train_head
from mitosam.workflows.prepare import Sources, prepare
from mitosam.workflows.runs import Run
from mitosam.workflows.train import train
from tests.tiny_runs import Remembered, contents, short_settings

HEAD = ("head.steps=12", "head.width=4", "head.crop_px=64", "head.batch_crops=2")
SPLIT = ("split.kind=given", 'split.train="1-4"', 'split.validation="6-7"', 'split.test="9-10"')


def head_settings(model: Path, *overrides: str) -> RunSettings:
    """Settings of a head that knows next to nothing, and of a split of ten sections."""
    return short_settings(model, *HEAD, *SPLIT, *overrides)


def train_run(sources: Sources, folder: Path, settings: RunSettings, *, head: bool = True) -> Run:
    """A run with a tuned mask decoder and a head, not scored yet."""
    run = prepare(sources, folder, settings)
    train(run)
    if head:
        train_head(run)
    return run


class Counted(Remembered):
    """Progress that counts the items of each loop."""

    def __init__(self) -> None:
        super().__init__()
        self.items: Counter[str] = Counter()

    def track(self, items, description, *, total=None, unit="it"):
        for item in items:
            self.items[description] += 1
            yield item


def copy_run(run, folder):
    shutil.copytree(run.folder, folder)
    return Run.open(folder)


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
