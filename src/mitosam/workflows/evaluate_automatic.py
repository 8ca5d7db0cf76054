"""Score automatic segmentation, without any prompt, beside a U-Net of the same sections."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from mitosam.errors import InputNotFoundError
from mitosam.evaluation.automatic import AutomaticScores, score_automatic
from mitosam.inference.map_store import MapStore
from mitosam.io.open import open_volume
from mitosam.io.tables import write_json, write_table
from mitosam.io.write import write_sections_tiff
from mitosam.models.sam import hash_weights
from mitosam.progress import SILENT, Progress
from mitosam.storage import write_text
from mitosam.workflows.automatic import AutomaticInfo, Method, Segmenter
from mitosam.workflows.automatic_model import save_info, segmenter_of_run
from mitosam.workflows.calibrate import calibrate
from mitosam.workflows.models import LoadedModel, load_base
from mitosam.workflows.rival import RIVAL, rival_model
from mitosam.workflows.runs import Part, Run, now, read_object
from mitosam.workflows.truth import runs_of, true_instances

Rival = Literal["unet", "none"]
OWN = "mitosam"
# The order of tables: the run's own methods, then the rival.
ORDER = ("head", "prompted", "grid", "U-Net")
IDENTITY, LABELS, SCORED = "identity.json", "labels.tif", "scored.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticScore:
    """One method's scores on consecutive sections of one volume, and where its labels are."""

    method: str
    volume: str
    sections: range
    scores: AutomaticScores
    labels: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Competitor:
    """A segmenter with its thresholds chosen, and one of its methods."""

    name: str
    method: Method
    segmenter: Segmenter

    @property
    def title(self) -> str:
        """What tables call it."""
        return {RIVAL: "U-Net"}.get(self.name, self.method)


def evaluate_automatic(
    run: Run,
    model: LoadedModel | None = None,
    *,
    methods: Sequence[Method] = ("head", "prompted"),
    rival: Rival = "unet",
    seconds_left: float = math.inf,
    progress: Progress = SILENT,
) -> list[AutomaticScore]:
    """Segment the run's test sections by each method and score the instances.

    Thresholds come from the validation sections, and so does the method that the model then
    prefers. The rival is trained if it is not there yet. What was segmented before, with the same
    weights and thresholds, is not segmented again.

    Raises
    ------
    InputNotFoundError
        The run is not trained, or has no head.
    """
    if not run.tuned_weights.exists():
        raise InputNotFoundError(
            f"{run.folder} is not trained yet; run `mitosam train {run.folder}` first"
        )
    model = model or load_base(run.settings)
    own = segmenter_of_run(run, model)
    for method in methods:
        own.choose(method)
    own = own.with_info(calibrate(run, own, methods, OWN, progress))
    if run.source is None:
        save_info(run, own.info)
    competitors = [_Competitor(name=OWN, method=method, segmenter=own) for method in methods]
    if rival == "unet":
        network = rival_model(run, model, seconds_left=seconds_left, progress=progress)
        other = replace(own, head=network, info=AutomaticInfo())
        other = other.with_info(calibrate(run, other, ["head"], RIVAL, progress))
        competitors.append(_Competitor(name=RIVAL, method="head", segmenter=other))
    for competitor in competitors:
        for part, sections in _test_runs(run):
            _segment(run, competitor, part, sections, progress)
    scores = read_automatic(run, progress)
    write_scores(run.folder, scores)
    return scores


def read_automatic(run: Run, progress: Progress = SILENT) -> list[AutomaticScore]:
    """The scores of what `evaluate_automatic` segmented, the run's own methods first.

    An empty list if it segmented nothing.
    """
    records = [
        (folder, read_object(folder / SCORED))
        for folder in sorted(run.automatic_folder("").glob("*"))
        if (folder / SCORED).exists()
    ]
    parts = {part.volume.name: part for part in run.parts()}
    found = []
    for folder, record in progress.track(records, "scoring without prompts", unit="method"):
        part, sections = parts[record["volume"]], range(*record["sections"])
        labels = open_volume(folder / LABELS)
        found.append(
            AutomaticScore(
                method=record["method"],
                volume=record["volume"],
                sections=sections,
                scores=score_automatic(
                    labels.sections(),
                    true_instances(part.volume, sections),
                    part.volume.voxel_size_nm,
                    seed=run.settings.seed,
                ),
                labels=folder / LABELS,
            )
        )
    return sorted(found, key=lambda score: ORDER.index(score.method))


def write_scores(folder: Path, scores: Sequence[AutomaticScore]) -> None:
    """`automatic.csv` with a line for each method, and all of it as JSON."""
    rows = [
        {
            "method": score.method,
            "volume": score.volume,
            "first_section": score.sections.start,
            "last_section": score.sections.stop - 1,
            **score.scores.to_row(),
        }
        for score in scores
    ]
    write_table(folder / "automatic.csv", rows)
    write_json(folder / "automatic.json", scores)


def _test_runs(run: Run) -> Iterator[tuple[Part, range]]:
    for part in run.parts():
        for sections in runs_of(part.split.test):
            yield part, sections


def _segment(
    run: Run, competitor: _Competitor, part: Part, sections: range, progress: Progress
) -> None:
    """Write the labels of some sections, unless they are there."""
    name = f"{competitor.name}-{competitor.method}-{part.volume.folder.name}-{sections.start}"
    folder = run.automatic_folder(name)
    identity = _identity(competitor, part)
    _clear_unless(folder, identity)
    if (folder / SCORED).exists():
        return
    store = MapStore(folder, len(sections))
    depth = part.volume.shape_zyx[0]
    compute = competitor.segmenter.mapper(competitor.method, part.volume.images.__getitem__, depth)
    title = f"segmenting ({competitor.title})"
    started = time.monotonic()
    store.fill(lambda z: compute(sections[z]), title=title, progress=progress)
    labels = store.label(competitor.segmenter.info.settings_of(competitor.method), progress)
    _, height, width = part.volume.shape_zyx
    write_sections_tiff(
        folder / LABELS,
        labels,
        shape_zyx=(len(sections), height, width),
        dtype=np.uint32,
        voxel_size_nm=part.volume.voxel_size_nm,
    )
    write_json(
        folder / SCORED,
        {
            "method": competitor.title,
            "volume": part.volume.name,
            "sections": [sections.start, sections.stop],
            "seconds": round(time.monotonic() - started, 1),
            "segmented": now(),
        },
    )
    store.clear()


def _identity(competitor: _Competitor, part: Part) -> str:
    """A hash of what the labels depend on."""
    segmenter = competitor.segmenter
    head = segmenter.head
    facts = [
        hash_weights(segmenter.sam.state_dict().items()),
        hash_weights(head.network.state_dict().items()) if head else "",
        head.shape.model_dump_json() if head else "",
        segmenter.info.model_dump_json(),
        segmenter.sam.precision,
        part.volume.images_sha256,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _clear_unless(folder: Path, identity: str) -> None:
    """Remove what was segmented by other weights or under other thresholds."""
    path = folder / IDENTITY
    if folder.exists() and (not path.exists() or path.read_text("utf-8") != identity):
        shutil.rmtree(folder)
    if not folder.exists():
        folder.mkdir(parents=True)
        write_text(path, identity)
