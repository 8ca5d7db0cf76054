"""Teaches the mask decoder on cached embeddings, validates as it goes, and keeps the best."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mitosam.errors import InputError
from mitosam.evaluation.metrics import dice, iou
from mitosam.models.sam import Sam
from mitosam.progress import SILENT, Progress
from mitosam.training.checkpoint import TrainingState
from mitosam.training.curve import CurvePoint
from mitosam.training.examples import KINDS, PromptGroup, PromptKind, PromptSampler, TileExample
from mitosam.training.losses import dice_bce_loss
from mitosam.training.settings import TrainingSettings

log = logging.getLogger(__name__)

WARMUP_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How training went; the model holds the best weights."""

    curve: tuple[CurvePoint, ...]
    best_step: int
    num_steps: int
    stopped_by_budget: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationScore:
    """Mean Dice and IoU over the kinds of prompt that are trained, at low-res resolution."""

    dice: float
    iou: float


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


class Trainer:
    """One training run."""

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
        self._live = model.mask_decoder.requires_grad_(True)
        self._state = TrainingState(
            trained=self._live,
            averaged=copy.deepcopy(self._live).requires_grad_(False),
            optimizer=torch.optim.Adam(
                self._live.parameters(),
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
            ),
        )

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        per_epoch = math.ceil(len(self._examples) / self._settings.batch_tiles)
        return max(self._settings.epochs * per_epoch, self._settings.min_steps)

    @property
    def num_trained_kinds(self) -> int:
        """How many kinds of prompt are drawn."""
        return sum(self._is_trained(kind) for kind in KINDS)

    def run(
        self, checkpoint: Path, fingerprint: str, seconds_left: float, progress: Progress
    ) -> TrainingResult:
        """Train to the end or until the time is up."""
        state = self._state
        if checkpoint.exists():
            state.restore(checkpoint, fingerprint)
            progress.say(f"going on from step {state.step} of {self.num_steps}")
        stops = self._validation_steps()
        started, before = time.monotonic(), state.seconds
        losses: list[float] = []
        out_of_time = False
        for step in progress.track(range(state.step, self.num_steps), "training", unit="step"):
            spent = time.monotonic() - started
            out_of_time = spent >= seconds_left
            if not out_of_time:
                losses.append(self.step(step, max(step / self.num_steps, spent / seconds_left)))
                state.step = step + 1
            if out_of_time or state.step in stops:
                state.seconds = before + spent
                if losses or not state.curve:
                    self._validate(losses)
                    state.save(checkpoint, fingerprint)
                losses = []
            if out_of_time:
                break
        return self._finish(stopped_by_budget=out_of_time)

    def _finish(self, *, stopped_by_budget: bool) -> TrainingResult:
        state = self._state
        with torch.no_grad():
            for name, parameter in self._live.named_parameters():
                parameter.copy_(state.best[name])
        self._model.requires_grad_(False)
        return TrainingResult(
            curve=tuple(state.curve),
            best_step=state.best_step,
            num_steps=state.step,
            stopped_by_budget=stopped_by_budget,
        )

    def _validation_steps(self) -> set[int]:
        count = min(self._settings.validations, self.num_steps)
        return {round(self.num_steps * (i + 1) / count) for i in range(count)}

    def step(self, step: int, done: float) -> float:
        """One optimiser step with a share `done` of the run over; the mean loss of its prompts."""
        for parameters in self._state.optimizer.param_groups:
            parameters["lr"] = self._learning_rate(done)
        total, num_prompts = 0.0, 0
        self._state.optimizer.zero_grad()
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
        torch.nn.utils.clip_grad_norm_(self._live.parameters(), self._settings.clip_norm)
        self._state.optimizer.step()
        self._average(step)
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

    def _learning_rate(self, done: float) -> float:
        """The learning rate once a share `done` of the run is over."""
        peak = self._settings.learning_rate
        if self._settings.schedule == "constant":
            return peak
        if done < WARMUP_SHARE:
            return peak * max(done, 1e-3) / WARMUP_SHARE
        return peak * 0.5 * (1 + math.cos(math.pi * (done - WARMUP_SHARE) / (1 - WARMUP_SHARE)))

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # A young average forgets fast, so that the untrained weights do not linger in it.
        decay = min(self._settings.ema_decay, (1 + step) / (10 + step))
        for mean, live in zip(
            self._state.averaged.parameters(), self._live.parameters(), strict=True
        ):
            mean.lerp_(live, 1 - decay if self._settings.ema_decay else 1.0)

    def _validate(self, losses: list[float]) -> None:
        state = self._state
        score = self.score_validation()
        per_epoch = math.ceil(len(self._examples) / self._settings.batch_tiles)
        earlier = max((point.validation_iou for point in state.curve), default=-math.inf)
        is_blind = math.isnan(score.iou)  # no validation tile holds a prompt of a trained kind
        state.curve.append(
            CurvePoint(
                step=state.step,
                epoch=state.step / per_epoch,
                seconds=state.seconds,
                loss=float(np.mean(losses)) if losses else math.nan,
                learning_rate=state.optimizer.param_groups[0]["lr"],
                validation_dice=score.dice,
                validation_iou=score.iou,
            )
        )
        if is_blind or score.iou >= earlier:
            state.keep_best()

    @torch.inference_mode()
    def score_validation(self) -> ValidationScore:
        """The averaged weights' score on the validation tiles, without jitter."""
        self._model.mask_decoder = self._state.averaged
        try:
            scores = [self._score_kind(kind) for kind in KINDS if self._is_trained(kind)]
        finally:
            self._model.mask_decoder = self._live
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
