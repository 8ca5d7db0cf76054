"""The state of a training run in one safetensors file, enough to go on to the same result.

The one before it is kept too, so that a damaged file costs no more than a validation's steps.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from mitosam.checksums import damaged
from mitosam.errors import DamagedFileError, ModelError, SettingsError
from mitosam.sealed_tensors import check_tensors, seal_tensors
from mitosam.storage import atomic_path
from mitosam.training.curve import CurvePoint

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]
DAMAGE = (OSError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)
"""What a checkpoint raises that another program, or a failing disk, wrote."""


def previous_of(checkpoint: Path) -> Path:
    """Where the checkpoint before this one is kept."""
    return checkpoint.with_name(f"{checkpoint.stem}.previous{checkpoint.suffix}")


def has_checkpoint(checkpoint: Path) -> bool:
    """Whether there is a state to go on from."""
    return checkpoint.exists() or previous_of(checkpoint).exists()


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove the state of a training that ended."""
    previous_of(checkpoint).unlink(missing_ok=True)
    checkpoint.unlink(missing_ok=True)


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """All that changes while training: the live weights, their average, Adam, and the record."""

    trained: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler
    step: int = 0
    seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    best_step: int = -1
    best: Weights = field(default_factory=dict)
    newest_is_damaged: bool = False
    """Whether the last file was passed over for the one before it."""

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the state; `fingerprint` names the settings and data it belongs to.

        What stood there becomes the previous checkpoint, unless it is damaged.
        """
        record = {
            "fingerprint": fingerprint,
            "step": self.step,
            "seconds": self.seconds,
            "best_step": self.best_step,
            "curve": [asdict(point) for point in self.curve],
            "scaler": self.scaler.state_dict(),
        }
        with atomic_path(path) as temporary:
            # Not save_file: on a full disk its error is no OSError.
            content = save(self._tensors(), {"record": json.dumps(record)})
            temporary.write_bytes(seal_tensors(content))
            if path.exists() and not self.newest_is_damaged:
                path.replace(previous_of(path))
        self.newest_is_damaged = False

    def restore(self, path: Path, fingerprint: str) -> None:
        """Go on from what `save` wrote last, or before that where the last one is damaged.

        Raises
        ------
        SettingsError
            It was written under other settings or data.
        ModelError
            It is damaged, and so is the one before, or there is none.
        """
        found = _read_newest(path)
        record, tensors = found.record, found.tensors
        if record["fingerprint"] != fingerprint:
            raise SettingsError(
                f"{path} was written under other settings or data; "
                "choose another --out, or remove it to train anew"
            )
        try:
            self._take(record, tensors)
        except DAMAGE as error:
            raise ModelError(f"{path} is damaged ({error}); remove it to train anew") from error

        self.newest_is_damaged = found.newest_is_damaged

    def _take(self, record: dict[str, Any], tensors: Weights) -> None:
        self._load_tensors(tensors)
        if record.get("scaler"):  # empty for formats that need none
            self.scaler.load_state_dict(record["scaler"])
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the newest whole checkpoint holds, and whether a newer one is damaged."""

    record: dict[str, Any]
    tensors: Weights
    newest_is_damaged: bool


def _read_newest(path: Path) -> _Found:
    previous, is_damaged = previous_of(path), False
    try:
        record, tensors = read_checkpoint(path)
        return _Found(record=record, tensors=tensors, newest_is_damaged=False)
    except FileNotFoundError:
        pass  # killed between the two renames
    except DamagedFileError as error:
        if not previous.exists():
            raise ModelError(str(error)) from error
        log.warning("%s; going on from %s, which was written before", error, previous.name)
        is_damaged = True
    try:
        record, tensors = read_checkpoint(previous)
    except DamagedFileError as error:
        both = f"remove {path.name} and {previous.name} to train anew"
        raise ModelError(f"{previous} is damaged ({error.what}); {both}") from error
    return _Found(record=record, tensors=tensors, newest_is_damaged=is_damaged)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], Weights]:
    """The record and the tensors of one file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DamagedFileError
        It is not as it was written.
    """
    way_out = "remove it to train anew"
    content = path.read_bytes()
    try:
        check_tensors(path, content)
        tensors = load(content)
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["record"])
    except DamagedFileError as error:
        raise damaged(path, error.what, way_out=way_out) from error
    except (SafetensorError, *DAMAGE) as error:
        raise damaged(path, str(error), way_out=way_out) from error
    if not isinstance(record, dict) or "fingerprint" not in record:
        raise damaged(path, "it has no record", way_out=way_out)
    return record, tensors
