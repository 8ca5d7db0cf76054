"""Teaches the mask decoder on cached embeddings, validates as it goes, and keeps the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mitosam.errors import InputError
from mitosam.evaluation.metrics import dice, iou
from mitosam.models.decoder import MaskDecoder
from mitosam.models.sam import Sam
from mitosam.progress import SILENT, Progress
from mitosam.training.examples import KINDS, PromptGroup, PromptKind, PromptSampler, TileExample
from mitosam.training.loop import TrainingLoop, TrainingResult, ValidationScore
from mitosam.training.losses import dice_bce_loss
from mitosam.training.settings import TrainingSettings


def train(
    model: Sam,
    examples: Sequence[TileExample],
    validation: Sequence[TileExample],
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoint: Path,
    fingerprint: str = "",
    seconds_left: float = math.inf,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Train `model.mask_decoder` in place and leave it at its best validated weights.

    Everything random follows from `seed` and the number of the step, so a run that was killed and
    goes on from `checkpoint` ends at the same weights, unless `seconds_left` cuts it short. With
    no validation examples the last weights are the best.

    Raises
    ------
    InputError
        No training tile holds a mitochondrion.
    """
    return Trainer(model, examples, validation, settings, seed=seed).run(
        checkpoint, fingerprint, seconds_left, progress
    )


class Trainer(TrainingLoop):
    """One training run of a mask decoder."""

    def __init__(
        self,
        model: Sam,
        examples: Sequence[TileExample],
        validation: Sequence[TileExample],
        settings: TrainingSettings,
        *,
        seed: int,
    ) -> None:
        if not examples:
            raise InputError("training needs at least one tile with mitochondria, got none")
        self._model = model
        self._examples = examples
        self._validation = validation
        self._settings = settings
        self._seed = seed
        self._sampler = PromptSampler(
            settings, input_px=model.input_px, low_res_px=model.low_res_px
        )
        super().__init__(model.mask_decoder.requires_grad_(True), settings)

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return max(self._settings.epochs * self.steps_per_epoch, self._settings.min_steps)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps that see each tile once."""
        return math.ceil(len(self._examples) / self._settings.batch_tiles)

    @property
    def num_trained_kinds(self) -> int:
        """How many kinds of prompt are drawn."""
        return sum(self._is_trained(kind) for kind in KINDS)

    def run(
        self, checkpoint: Path, fingerprint: str, seconds_left: float, progress: Progress
    ) -> TrainingResult:
        """Train to the end or until the time is up, and leave the whole model frozen."""
        result = super().run(checkpoint, fingerprint, seconds_left, progress)
        self._model.requires_grad_(False)
        return result

    def backward(self, step: int) -> float:
        """Add the gradients of the loss of one step's prompts; its mean over them."""
        total, num_prompts = 0.0, 0
        drawn = [
            (example, groups)
            for example, rng in self._batch(step)
            if (groups := self._sampler.draw(example, rng))
        ]
        count = sum(len(group.regions) for _, groups in drawn for group in groups)
        for example, groups in drawn:
            embedding = self._embedding(example)
            for group in groups:
                loss = self._loss(embedding, group)
                torch.autograd.backward(loss * (len(group.regions) / count))
                total += float(loss.detach()) * len(group.regions)
                num_prompts += len(group.regions)
        return total / max(num_prompts, 1)

    def _batch(self, step: int) -> list[tuple[TileExample, np.random.Generator]]:
        """The tiles of one step: each epoch is a new permutation, each tile has its own stream."""
        size, count = self._settings.batch_tiles, len(self._examples)
        batch = []
        for position in range(step * size, (step + 1) * size):
            order = np.random.default_rng([self._seed, position // count]).permutation(count)
            stream = np.random.default_rng([self._seed, 1, position])
            batch.append((self._examples[order[position % count]], stream))
        return batch

    def _loss(self, embedding: Float[Tensor, "1 C h w"], group: PromptGroup) -> Tensor:
        decoded = self._model.decode(embedding, group.prompts)
        logits = group.crop(decoded.low_res_logits[0, :, 0])
        return dice_bce_loss(logits, group.targets.to(logits.device))

    @torch.inference_mode()
    def score_validation(self) -> ValidationScore:
        """The averaged weights' score on the validation tiles, without jitter."""
        live, averaged = self._model.mask_decoder, self._state.averaged
        assert isinstance(averaged, MaskDecoder)  # a copy of `live`
        self._model.mask_decoder = averaged
        try:
            scores = [self._score_kind(kind) for kind in KINDS if self._is_trained(kind)]
        finally:
            self._model.mask_decoder = live
        means = np.array([kind for kind in scores if kind.size], object)
        if not len(means):
            return ValidationScore(dice=math.nan, iou=math.nan)
        dices, ious = zip(*(kind.mean(axis=0) for kind in means), strict=True)
        return ValidationScore(dice=float(np.mean(dices)), iou=float(np.mean(ious)))

    def _is_trained(self, kind: PromptKind) -> bool:
        return float(getattr(self._settings.prompt_mix, kind)) > 0

    def _score_kind(self, kind: PromptKind) -> np.ndarray:
        """Dice and IoU of each prompt of one kind, up to the limit, from tiles spread evenly."""
        limit = self._settings.max_validation_prompts
        order = np.random.default_rng(self._seed).permutation(len(self._validation))
        rows: list[np.ndarray] = []
        num_prompts = 0
        groups = (
            (example, group)
            for example in (self._validation[i] for i in order)
            for group in self._sampler.every(example, kind)
        )
        for example, group in groups:
            if num_prompts >= limit:
                break
            decoded = self._model.decode(self._embedding(example), group.prompts)
            predicted = (group.crop(decoded.low_res_logits[0, :, 0]) > 0).cpu().numpy()
            truth = (group.targets >= 0.5).numpy()
            rows.append(np.stack([dice(predicted, truth), iou(predicted, truth)], axis=1))
            num_prompts += len(truth)
        return np.concatenate(rows) if rows else np.empty((0, 2))

    def _embedding(self, example: TileExample) -> Float[Tensor, "1 C h w"]:
        return torch.from_numpy(example.read_embedding()).float()[None]
