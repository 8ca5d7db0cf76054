"""The state of a training run in one safetensors file, enough to go on to the same result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mitosam.errors import ModelError, SettingsError
from mitosam.storage import atomic_path
from mitosam.training.curve import CurvePoint

Weights = dict[str, Tensor]
DAMAGE = (OSError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)
"""What a checkpoint raises that another program, or a failing disk, wrote."""


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """All that changes while training: the live weights, their average, Adam, and the record."""

    trained: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Adam
    step: int = 0
    seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    best_step: int = -1
    best: Weights = field(default_factory=dict)

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the state; `fingerprint` names the settings and data it belongs to."""
        record = {
            "fingerprint": fingerprint,
            "step": self.step,
            "seconds": self.seconds,
            "best_step": self.best_step,
            "curve": [asdict(point) for point in self.curve],
        }
        with atomic_path(path) as temporary:
            # Not save_file: on a full disk its error is no OSError.
            temporary.write_bytes(save(self._tensors(), {"record": json.dumps(record)}))

    def restore(self, path: Path, fingerprint: str) -> None:
        """Go on from what `save` wrote.

        Raises
        ------
        SettingsError
            It was written under other settings or data.
        ModelError
            It is damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                record = json.loads(file.metadata()["record"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, *DAMAGE) as error:
            raise ModelError(f"{path} is damaged ({error}); remove it to train anew") from error
        if not isinstance(record, dict) or "fingerprint" not in record:
            raise ModelError(f"{path} is damaged (it has no record); remove it to train anew")
        if record["fingerprint"] != fingerprint:
            raise SettingsError(
                f"{path} was written under other settings or data; "
                "choose another --out, or remove it to train anew"
            )
        try:
            self._take(record, tensors)
        except DAMAGE as error:
            raise ModelError(f"{path} is damaged ({error}); remove it to train anew") from error

    def _take(self, record: dict[str, Any], tensors: Weights) -> None:
        self._load_tensors(tensors)
        self.step, self.seconds = int(record["step"]), float(record["seconds"])
        self.best_step = int(record["best_step"])
        self.curve = [CurvePoint(**point) for point in record["curve"]]

    def keep_best(self) -> None:
        """Remember the averaged weights as the best so far."""
        self.best_step = self.step
        self.best = {name: t.detach().clone() for name, t in self.averaged.state_dict().items()}

    def load_best(self) -> None:
        """Put the best weights so far into the trained module."""
        self.trained.load_state_dict(self.best)

    def _tensors(self) -> Weights:
        tensors = {f"live.{name}": t.detach() for name, t in self.trained.state_dict().items()}
        tensors |= {f"mean.{name}": t.detach() for name, t in self.averaged.state_dict().items()}
        tensors |= {f"best.{name}": t for name, t in self.best.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": t for name, t in state.items()}
        return {name: t.contiguous().clone() for name, t in tensors.items()}

    def _load_tensors(self, tensors: Weights) -> None:
        with torch.no_grad():
            for prefix, module in (("live", self.trained), ("mean", self.averaged)):
                for name, tensor in module.state_dict().items():
                    tensor.copy_(tensors[f"{prefix}.{name}"])
        self.best = {
            name.removeprefix("best."): t for name, t in tensors.items() if name.startswith("best.")
        }
        adam = self.optimizer.state_dict()
        adam["state"] = {}
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, number, kind = name.split(".")
                adam["state"].setdefault(int(number), {})[kind] = tensor
        self.optimizer.load_state_dict(adam)
