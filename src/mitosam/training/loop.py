"""The loop of every training: schedule, running average, validation, checkpoints, time limit."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mitosam.models.promptable import Precision
from mitosam.progress import Progress
from mitosam.ranks import current
from mitosam.training.checkpoint import TrainingState, has_checkpoint
from mitosam.training.curve import CurvePoint

WARMUP_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How training went; the network holds the best weights."""

    curve: tuple[CurvePoint, ...]
    best_step: int
    num_steps: int
    stopped_by_budget: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationScore:
    """How good the averaged weights are; NaN where there was nothing to validate on."""

    dice: float
    iou: float


class LoopSettings(Protocol):
    """What the loop needs of the settings of a training."""

    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def schedule(self) -> Literal["constant", "cosine"]: ...  # noqa: D102
    @property
    def ema_decay(self) -> float: ...  # noqa: D102
    @property
    def clip_norm(self) -> float: ...  # noqa: D102
    @property
    def validations(self) -> int: ...  # noqa: D102


class TrainingLoop(ABC):
    """One training run of one network; what a step and a validation are, its heirs say.

    Everything random must follow from the number of the step, so that a run that was killed and
    goes on from its checkpoint ends at the same weights. Several processes each compute their share
    of a step; their gradients are added up, so that all take the same step, which is that of one.
    """

    title = "training"
    """What the progress bar says."""

    def __init__(
        self,
        network: nn.Module,
        settings: LoopSettings,
        precision: Precision = "fp32",
        *,
        base_share: float = 0.0,
    ) -> None:
        self._live = network
        self._loop = settings
        self._base_share = base_share
        self._begun = (
            {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            if base_share
            else {}
        )
        self._ranks = current()
        # fp16 has no small numbers: gradients are computed of a multiple of the loss.
        device = next((one.device for one in network.parameters()), torch.device("cpu"))
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._scaler.scale(
            torch.zeros((), device=device)
        )  # makes it, for a process without a share
        self._state = TrainingState(
            trained=network,
            averaged=copy.deepcopy(network).requires_grad_(False),
            optimizer=torch.optim.Adam(
                self.parameter_groups(network),
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
            ),
            scaler=self._scaler,
        )

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """What the optimiser trains; a group's "rate" multiplies the learning rate."""
        return [{"params": list(network.parameters()), "rate": 1.0}]

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Optimiser steps that see each example about once."""

    @abstractmethod
    def backward(self, step: int) -> float:
        """Add the gradients of this process's share of one step's loss; its share of that loss."""

    @abstractmethod
    def score_validation(self) -> ValidationScore:
        """The averaged weights' score on the validation examples."""

    def run(
        self, checkpoint: Path, fingerprint: str, seconds_left: float, progress: Progress
    ) -> TrainingResult:
        """Train to the end or until the time is up."""
        state, ranks = self._state, self._ranks
        seconds_left = ranks.agree(seconds_left)
        if ranks.agree(has_checkpoint(checkpoint)):
            state.restore(checkpoint, fingerprint)
            progress.say(f"going on from step {state.step} of {self.num_steps}")
        stops = self._validation_steps()
        started, before = time.monotonic(), state.seconds
        losses: list[float] = []
        out_of_time = False
        for step in progress.track(range(state.step, self.num_steps), self.title, unit="step"):
            spent = time.monotonic() - started
            if math.isfinite(seconds_left):
                spent = ranks.agree(spent)
            out_of_time = spent >= seconds_left
            if not out_of_time:
                losses.append(self.step(step, max(step / self.num_steps, spent / seconds_left)))
                state.step = step + 1
            if out_of_time or state.step in stops:
                state.seconds = before + spent
                if losses or not state.curve:
                    self._validate(losses)
                    if ranks.is_lead:
                        state.save(checkpoint, fingerprint)
                losses = []
            if out_of_time:
                break
        return self._finish(stopped_by_budget=out_of_time)

    def _finish(self, *, stopped_by_budget: bool) -> TrainingResult:
        state = self._state
        state.load_best()
        self._live.requires_grad_(False)
        return TrainingResult(
            curve=tuple(state.curve),
            best_step=state.best_step,
            num_steps=state.step,
            stopped_by_budget=stopped_by_budget,
        )

    def _validation_steps(self) -> set[int]:
        count = min(self._loop.validations, self.num_steps)
        return {round(self.num_steps * (i + 1) / count) for i in range(count)}

    def step(self, step: int, done: float) -> float:
        """One optimiser step with a share `done` of the run over; its loss."""
        for parameters in self._state.optimizer.param_groups:
            parameters["lr"] = parameters["rate"] * self._learning_rate(done)
        optimizer, scaler = self._state.optimizer, self._scaler
        optimizer.zero_grad()
        loss = self._ranks.add_up(self._live.parameters(), self.backward(step))
        if any(one.grad is not None for one in self._live.parameters()):
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self._live.parameters(), self._loop.clip_norm)
            scaler.step(optimizer)
            scaler.update()
        self._average(step)
        return loss

    def add_gradients(self, loss: Tensor) -> None:
        """Add the gradients of a part of a step's loss."""
        torch.autograd.backward(self._scaler.scale(loss))

    def _learning_rate(self, done: float) -> float:
        """The learning rate once a share `done` of the run is over."""
        peak = self._loop.learning_rate
        if self._loop.schedule == "constant":
            return peak
        if done < WARMUP_SHARE:
            return peak * max(done, 1e-3) / WARMUP_SHARE
        return peak * 0.5 * (1 + math.cos(math.pi * (done - WARMUP_SHARE) / (1 - WARMUP_SHARE)))

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # A young average forgets fast, so that the untrained weights do not linger in it.
        decay = min(self._loop.ema_decay, (1 + step) / (10 + step)) if self._loop.ema_decay else 0.0
        mean, live = self._state.averaged.state_dict(), self._live.state_dict()
        for name, tensor in mean.items():
            if tensor.is_floating_point():
                now = live[name]
                if self._begun:
                    now = now.lerp(self._begun[name], self._base_share)
                tensor.lerp_(now, 1 - decay)
            else:
                tensor.copy_(live[name])  # BatchNorm counts its batches

    def _validate(self, losses: list[float]) -> None:
        state = self._state
        score = self.score_validation()
        earlier = max((point.validation_iou for point in state.curve), default=-math.inf)
        is_blind = math.isnan(score.iou)  # there was nothing to validate on
        state.curve.append(
            CurvePoint(
                step=state.step,
                epoch=state.step / self.steps_per_epoch,
                seconds=state.seconds,
                loss=float(np.mean(losses)) if losses else math.nan,
                learning_rate=state.optimizer.param_groups[0]["lr"],
                validation_dice=score.dice,
                validation_iou=score.iou,
            )
        )
        if is_blind or score.iou >= earlier:
            state.keep_best()
