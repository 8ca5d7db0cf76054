"""Teaches parts of a model on cached features, validates as it goes, and keeps the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mitosam.errors import InputError
from mitosam.evaluation.metrics import dice, iou
from mitosam.models.mask_prompts import decode_each
from mitosam.models.promptable import Promptable
from mitosam.progress import SILENT, Progress
from mitosam.training.corrections import corrected, one_point
from mitosam.training.examples import KINDS, PromptGroup, PromptKind, PromptSampler, TileExample
from mitosam.training.loop import TrainingLoop, TrainingResult, ValidationScore
from mitosam.training.losses import mask_iou, mask_loss
from mitosam.training.parts import ChosenParts
from mitosam.training.settings import TrainingSettings

# As `TrainedParameters` writes names.
_ENCODER = "vision_encoder/"


def train(
    model: Promptable,
    parts: ChosenParts,
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
    """Train `parts` of `model` in place and leave it at its best validated weights.

    Examples hold what the encoder computes before the parts' frontier.

    Everything random follows from `seed` and the number of the step, so a run that was killed and
    goes on from `checkpoint` ends at the same weights, unless `seconds_left` cuts it short. With
    no validation examples the last weights are the best.

    Raises
    ------
    InputError
        No training tile holds a mitochondrion.
    """
    trainer = Trainer(model, parts, examples, validation, settings, seed=seed)
    return trainer.run(checkpoint, fingerprint, seconds_left, progress)


class Trainer(TrainingLoop):
    """One training run of parts of a model."""

    def __init__(
        self,
        model: Promptable,
        parts: ChosenParts,
        examples: Sequence[TileExample],
        validation: Sequence[TileExample],
        settings: TrainingSettings,
        *,
        seed: int,
    ) -> None:
        if not examples:
            raise InputError("training needs at least one tile with mitochondria, got none")
        self._model = model
        self._trained = parts.trained
        self._frontier = parts.frontier
        self._examples = examples
        self._validation = validation
        self._settings = settings
        self._seed = seed
        self._sampler = PromptSampler(
            settings, input_px=model.input_px, low_res_px=model.low_res_px
        )
        super().__init__(parts.trained, settings, model.precision, base_share=settings.base_share)

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """The image encoder's parameters learn at their own rate."""
        groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for name, parameter in network.named_parameters():
            groups[name.startswith(_ENCODER)].append(parameter)
        rates = {False: 1.0, True: self._settings.encoder_rate}
        return [{"params": group, "rate": rates[key]} for key, group in groups.items() if group]

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
        """Add the gradients of the loss of this process's prompts; their part of its mean."""
        drawn = [
            (example, groups, rng)
            for example, rng in self._ranks.share(self._batch(step))
            if (groups := self._sampler.draw(example, rng))
        ]
        own = sum(len(group.regions) for _, groups, _ in drawn for group in groups)
        count = max(self._ranks.total(own), 1)
        total = 0.0
        for example, groups, rng in drawn:
            whole = self._embedding(example)
            # The decoder's gradients are summed here, and go through the encoder once.
            embedding = whole.detach().requires_grad_(whole.requires_grad)
            for group in groups:
                total += self._backward_group(embedding, group, count, rng)
            if whole.requires_grad and embedding.grad is not None:
                torch.autograd.backward(whole, embedding.grad)
        return total / count

    def _backward_group(
        self,
        embedding: Float[Tensor, "1 C h w"],
        group: PromptGroup,
        count: int,
        rng: np.random.Generator,
    ) -> float:
        """Add the gradients of the first answers' loss, and of the corrected ones'; the first.

        The loss is that of one of `count` prompts; what is returned, the sum over the group.
        """
        total, logits = self._backward_answers(embedding, group, count)
        again = self._corrected(embedding, group, logits, rng)
        if again is not None:
            self._backward_answers(embedding, again, count)
        return total

    def _backward_answers(
        self, embedding: Float[Tensor, "1 C h w"], group: PromptGroup, count: int
    ) -> tuple[float, Float[Tensor, "P r r"]]:
        """Add the gradients of the answers to a group, piece by piece; their loss, and logits."""
        total, logits = 0.0, []
        for piece in group.pieces(self._settings.accumulate):
            answer = self._answer(embedding, piece)
            self.add_gradients(answer.loss * (len(piece.regions) / count))
            total += answer.mask_loss * len(piece.regions)
            logits.append(answer.logits)
        return total, torch.cat(logits)

    def _batch(self, step: int) -> list[tuple[TileExample, np.random.Generator]]:
        """The tiles of one step: each epoch is a new permutation, each tile has its own stream."""
        size, count = self._settings.batch_tiles, len(self._examples)
        batch = []
        for position in range(step * size, (step + 1) * size):
            order = np.random.default_rng([self._seed, position // count]).permutation(count)
            stream = np.random.default_rng([self._seed, 1, position])
            batch.append((self._examples[order[position % count]], stream))
        return batch

    def _corrected(
        self,
        embedding: Float[Tensor, "1 C h w"],
        group: PromptGroup,
        logits: Float[Tensor, "P r r"],
        rng: np.random.Generator,
    ) -> PromptGroup | None:
        """The prompts with clicks that correct the model's own answers; None to leave them."""
        most = self._settings.max_corrections
        if group.kind == "patch_box" or not most or rng.random() >= self._settings.corrected_share:
            return None
        prompts, input_px = group.prompts, self._model.input_px
        with_mask = bool(rng.random() < self._settings.mask_share)
        for clicks_left in range(int(rng.integers(most)), -1, -1):
            prompts = corrected(prompts, logits, group.targets, rng, input_px=input_px)
            if with_mask:
                prompts = replace(prompts, masks=logits[None].detach())
            if clicks_left:
                with torch.no_grad():
                    logits = decode_each(self._model, embedding, prompts).low_res_logits[0, :, 0]
        return replace(group, prompts=prompts)

    def _answer(self, embedding: Float[Tensor, "1 C h w"], group: PromptGroup) -> _Answer:
        """The loss, and the logits that were compared with the targets."""
        settings, prompts = self._settings, group.prompts
        asks_all = one_point(prompts) and settings.candidates_weight > 0
        decoded = decode_each(self._model, embedding, prompts, "all" if asks_all else "single")
        logits = [group.crop(decoded.low_res_logits[0, :, m]) for m in range(4 if asks_all else 1)]
        targets = group.targets.to(embedding.device)
        losses = [
            mask_loss(one, targets, loss=settings.loss, boundary_weight=settings.boundary_weight)
            for one in logits
        ]
        loss = losses[0].mean()
        mask_only = float(loss.detach())
        if asks_all:
            best = torch.stack(losses[1:]).amin(dim=0)
            loss = loss + settings.candidates_weight * best.mean()
        if settings.iou_weight:
            truth = torch.stack([mask_iou(one.detach(), targets) for one in logits], dim=1)
            loss = loss + settings.iou_weight * F.mse_loss(decoded.iou_predictions[0], truth)
        return _Answer(loss=loss, mask_loss=mask_only, logits=logits[0].detach())

    @torch.inference_mode()
    def score_validation(self) -> ValidationScore:
        """The averaged weights' score on the validation tiles, without jitter."""
        with self._trained.lent(self._state.averaged):
            scores = [self._score_kind(kind) for kind in KINDS if self._is_trained(kind)]
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
        ranks, own, num_prompts = self._ranks, [], 0
        groups = (
            (example, group)
            for example in (self._validation[i] for i in order)
            for group in self._sampler.every(example, kind)
        )
        for number, (example, group) in enumerate(groups):
            if num_prompts >= limit:
                break
            num_prompts += len(group.targets)
            if number % ranks.count != ranks.index:
                continue
            decoded = self._model.decode(self._embedding(example), group.prompts)
            predicted = (group.crop(decoded.low_res_logits[0, :, 0]) > 0).cpu().numpy()
            truth = (group.targets >= 0.5).numpy()
            own.append(np.stack([dice(predicted, truth), iou(predicted, truth)], axis=1))
        rows = ranks.put_together(own)
        return np.concatenate(rows) if rows else np.empty((0, 2))

    def _embedding(self, example: TileExample) -> Float[Tensor, "1 C h w"]:
        features = torch.from_numpy(example.read_features()).float()[None]
        return features if self._frontier.is_embedding else self._frontier.rest(features)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What the model said to some prompts, and how wrong it was."""

    loss: Float[Tensor, ""]
    mask_loss: float
    logits: Float[Tensor, "P r r"]
