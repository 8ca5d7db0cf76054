"""Train all that a run trains: the mask decoder, and the prompt-free head."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

from mitosam.errors import OutputExistsError
from mitosam.models.tuned import read_tuned_info
from mitosam.progress import SILENT, Progress
from mitosam.ranks import current, join
from mitosam.training.loop import TrainingResult
from mitosam.workflows.curves import require_whole_curve
from mitosam.workflows.decoder import train_decoder
from mitosam.workflows.head import encode_sections, model_for_head, train_head
from mitosam.workflows.models import LoadedModel, load_base
from mitosam.workflows.runs import Run

DECODER_SHARE = 0.4
"""Of a limited time, what the mask decoder gets beside a head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedParts:
    """How the training of each part went; None for one that was trained before, or is not to be."""

    decoder: TrainingResult | None
    head: TrainingResult | None


def train(
    run: Run,
    model: LoadedModel | None = None,
    *,
    start_from: Path | None = None,
    seconds_left: float = math.inf,
    progress: Progress = SILENT,
) -> TrainedParts:
    """Train on a prepared run and write `model.safetensors`.

    Training begins with the base model, or with the tuned one in the file `start_from`. A training
    that was killed goes on from its last validation and ends at the same weights. Of several
    processes that torchrun started, each trains the model's parts on its share of every step, and
    the first trains the head.

    Raises
    ------
    OutputExistsError
        The run is trained already.
    OutputInUseError
        Another process is working on it.
    RankError
        One of several processes ended.
    """
    ranks = join(run.settings.model.device)
    with ranks.writing(run.folder):
        return _train(run, model, start_from, seconds_left, ranks.voice(progress))


def _train(
    run: Run,
    model: LoadedModel | None,
    start_from: Path | None,
    seconds_left: float,
    progress: Progress,
) -> TrainedParts:
    run.require_own_model()
    ranks = current()
    if ranks.agree(is_trained(run)):
        raise OutputExistsError(
            f"{run.tuned_weights} exists already; remove it to train this run anew"
        )
    started = time.monotonic()
    model = model or load_base(run.settings)
    with_head = run.settings.head.enabled
    decoder = None
    if ranks.agree(run.tuned_weights.exists()):
        require_whole_curve(run, run.training_curve)
    else:
        share = DECODER_SHARE if with_head else 1.0
        decoder = train_decoder(
            run, model, start_from=start_from, seconds_left=share * seconds_left, progress=progress
        )
    if not with_head:
        return TrainedParts(decoder=decoder, head=None)
    model = model_for_head(run, start_from, model)
    encode_sections(run, model, ("train", "validation"), progress)
    left = seconds_left - (time.monotonic() - started)
    head = ranks.led(
        lambda: train_head(run, model, start_from=start_from, seconds_left=left, progress=progress)
    )
    return TrainedParts(decoder=decoder, head=head)


def is_trained(run: Run) -> bool:
    """Whether there is nothing left to train."""
    weights = run.tuned_weights
    if not weights.exists():
        return False
    return not run.settings.head.enabled or read_tuned_info(weights).head is not None
