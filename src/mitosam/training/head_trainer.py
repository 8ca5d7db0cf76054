"""Teaches the prompt-free head, or a rival of it, on crops of annotated sections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mitosam.errors import InputError
from mitosam.evaluation.metrics import Overlap
from mitosam.models.head import FOREGROUND, HeadShape, as_stack
from mitosam.models.promptable import Precision, autocast
from mitosam.progress import SILENT, Progress
from mitosam.training.crops import Batch, CropSampler, SectionExample
from mitosam.training.head_settings import HeadSettings
from mitosam.training.loop import TrainingLoop, TrainingResult, ValidationScore
from mitosam.training.losses import foreground_boundary_loss


class HeadTrainer(TrainingLoop):
    """One training run of a network that says what is foreground and what is boundary.

    It is one process's work: batch normalisation and Dice are of the whole batch.
    """

    title = "training the head"

    def __init__(
        self,
        network: nn.Module,
        shape: HeadShape,
        examples: Sequence[SectionExample],
        validation: Sequence[SectionExample],
        settings: HeadSettings,
        *,
        seed: int,
        precision: Precision,
        title: str = title,
    ) -> None:
        if not examples:
            raise InputError("training needs at least one section, got none")
        self.title = title
        self._examples = examples
        self._validation = validation
        self._settings = settings
        self._seed = seed
        self._precision: Precision = precision
        self._device = next(network.parameters()).device
        self._sampler = CropSampler(settings, shape)
        self._next: tuple[int, Future[Batch]] | None = None
        laid_out = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(laid_out, settings, precision)

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self._settings.steps

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps whose crops cover as much as the sections."""
        pixels = sum(math.prod(example.shape_yx) for example in self._examples)
        per_step = self._settings.batch_crops * self._settings.crop_px**2
        return max(1, math.ceil(pixels / per_step))

    def backward(self, step: int) -> float:
        """Add the gradients of one batch's loss; that loss."""
        self._live.train()
        batch = self._prefetched(step)
        loss = foreground_boundary_loss(
            self._logits(self._live, batch), batch.targets.to(self._device)
        )
        self.add_gradients(loss)
        return float(loss.detach())

    def _logits(self, network: nn.Module, batch: Batch) -> Float[Tensor, "B 2 c c"]:
        embedding = batch.embedding
        with autocast(self._device, self._precision):
            logits: Tensor = network(
                as_stack(batch.stack).to(self._device),
                None if embedding is None else embedding.to(self._device),
            )
        return logits.float()

    def _prefetched(self, step: int) -> Batch:
        """The batch of this step, read while the one before it was computed."""
        ahead, self._next = self._next, None
        batch = ahead[1].result() if ahead and ahead[0] == step else self._read(step)
        if step + 1 < self.num_steps:
            self._next = step + 1, _READER.submit(self._read, step + 1)
        return batch

    def _read(self, step: int) -> Batch:
        """Sections come round in ever new permutations, and each crop has its own stream."""
        size, count = self._settings.batch_crops, len(self._examples)
        chosen = []
        for position in range(step * size, (step + 1) * size):
            order = np.random.default_rng([self._seed, 3, position // count]).permutation(count)
            stream = np.random.default_rng([self._seed, 4, position])
            chosen.append((self._examples[order[position % count]], stream))
        return self._sampler.draw(chosen)

    @torch.inference_mode()
    def score_validation(self) -> ValidationScore:
        """Foreground Dice and IoU of the averaged weights, pooled over the validation sections."""
        network = self._state.averaged.eval()
        counts = np.zeros(3, np.int64)
        for batch in (one for section in self._validation for one in self._sampler.every(section)):
            predicted = self._logits(network, batch)[:, FOREGROUND].cpu() > 0
            truth = batch.targets[:, FOREGROUND] > 0
            counts += [int(mask.sum()) for mask in (truth, predicted, truth & predicted)]
        if not self._validation or not counts[0]:
            return ValidationScore(dice=math.nan, iou=math.nan)
        overlap = Overlap(truth_px=counts[0], predicted_px=counts[1], intersection_px=counts[2])
        return ValidationScore(dice=float(overlap.dice), iou=float(overlap.iou))


_READER = ThreadPoolExecutor(1, thread_name_prefix="crops")


def train_head(
    network: nn.Module,
    shape: HeadShape,
    examples: Sequence[SectionExample],
    validation: Sequence[SectionExample],
    settings: HeadSettings,
    *,
    seed: int,
    precision: Precision,
    checkpoint: Path,
    fingerprint: str = "",
    seconds_left: float = math.inf,
    title: str = HeadTrainer.title,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Train `network` in place and leave it, in evaluation mode, at its best validated weights.

    A run that was killed and goes on from `checkpoint` ends at the same weights, unless
    `seconds_left` cuts it short. With no validation examples the last weights are the best.

    Raises
    ------
    InputError
        There is no section to train on.
    """
    trainer = HeadTrainer(
        network,
        shape,
        examples,
        validation,
        settings,
        seed=seed,
        precision=precision,
        title=title,
    )
    result = trainer.run(checkpoint, fingerprint, seconds_left, progress)
    network.eval()
    return result
