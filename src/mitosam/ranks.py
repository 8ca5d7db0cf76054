"""The processes of one training: one alone, or several that torchrun or accelerate started.

All of them know the same data, seed and settings. Each does its share of a work, and they meet to
add up gradients, to put together what each found, or to wait for what the first of them, the lead,
does alone. Libraries for it are imported only where there are several.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mitosam.errors import RankError, SettingsError
from mitosam.progress import SILENT, Progress
from mitosam.storage import sole_writer

if TYPE_CHECKING:
    from torch.nn import Parameter

T = TypeVar("T")

STEP_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others' gradients: one that hangs ends all."""
LEAD_TIMEOUT = timedelta(days=7)
"""How long the others wait for what the lead does alone; if it dies they end at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The place of this process among those of one training; number 0 leads."""

    index: int = 0
    count: int = 1
    device: str = ""
    """The device of this process; empty where it is alone and may choose."""
    control: Any = None
    """Through which objects pass, beside the gradients; None where it is alone."""

    @property
    def is_lead(self) -> bool:
        """Whether this process writes, prints, and does what one does alone."""
        return self.index == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The part of this process in what all of them know; `put_together` is the way back."""
        return items[self.index :: self.count]

    def put_together(self, own: Sequence[T]) -> list[T]:
        """What every process made of its share, in the order of what was shared."""
        return interleave(self.gather(own))

    def gather(self, own: T) -> list[T]:
        """Every process's value, in the order of their numbers."""
        if self.count == 1:
            return [own]
        from torch import distributed

        found: list[Any] = [None] * self.count
        with _all_alive():
            distributed.all_gather_object(found, own, group=self.control)
        return found

    def agree(self, own: T) -> T:
        """The lead's value."""
        if self.count == 1:
            return own
        from torch import distributed

        values = [own if self.is_lead else None]
        with _all_alive():
            distributed.broadcast_object_list(values, src=0, group=self.control)
        return values[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Go on when all others are here too."""
        self.gather(None)

    def total(self, own: int) -> int:
        """The sum of every process's number."""
        return sum(self.gather(own))

    def add_up(self, parameters: Iterable[Parameter], loss: float) -> float:
        """Give each process the sum of all processes' gradients; the sum of their losses.

        A parameter of which no process has a gradient keeps none, so that the optimiser leaves it
        alone, as it does in a single process.
        """
        if self.count == 1:
            return loss
        import torch
        from accelerate.utils import reduce

        trained = [one for one in parameters if one.requires_grad]
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in trained]
        facts = torch.tensor([loss, *(float(one.grad is not None) for one in trained)])
        flat = torch.cat([facts.to(trained[0].device), *(one.flatten() for one in gradients)])
        with _all_alive():
            summed = reduce(flat, reduction="sum")
        sizes = [1] * len(facts) + [one.numel() for one in trained]
        total, *rest = summed.split(sizes)
        for one, has_any, gradient in zip(
            trained, rest[: len(trained)], rest[len(trained) :], strict=True
        ):
            one.grad = gradient.view_as(one) if has_any else None
        return float(total)

    def led(self, work: Callable[[], T]) -> T:
        """What the lead makes of `work`, alone; the others wait for it.

        Raises
        ------
        RankError
            In the others, if it fails in the lead.
        """
        if self.count == 1:
            return work()
        if not self.is_lead:
            done, value = self.agree((False, None))
            if not done:
                raise RankError("the first process ended; its own line says why")
            return value  # type: ignore[return-value]
        token = _LEADING.set(True)
        try:
            value = work()
        except BaseException:
            self.agree((False, None))
            raise
        finally:
            _LEADING.reset(token)
        return self.agree((True, value))[1]

    def voice(self, progress: Progress) -> Progress:
        """Where this process shows its progress: only the lead does."""
        return progress if self.is_lead else SILENT

    @contextmanager
    def writing(self, folder: Path) -> Iterator[None]:
        """A block in which the lead is `folder`'s sole writer; the others write nothing there.

        Raises
        ------
        OutputInUseError
            Something else writes to it.
        """
        with sole_writer(folder) if self.is_lead else nullcontext():
            yield


ALONE = Ranks()
_joined = ALONE
_LEADING: ContextVar[bool] = ContextVar("leading", default=False)


def current() -> Ranks:
    """The processes that were joined; before that, and in what the lead does, this one alone."""
    return ALONE if _LEADING.get() else _joined


def started_count() -> int:
    """How many processes torchrun, accelerate or the environment says there are."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


def started_index() -> int:
    """The number of this one among them."""
    return int(os.environ["RANK"]) if started_count() > 1 else 0


def join(device: str = "auto") -> Ranks:
    """Meet the other processes of this training, if there are any; each gets a device of its own.

    Raises
    ------
    SettingsError
        `device` names one device for all.
    RankError
        The others do not come.
    """
    global _joined
    if started_count() > 1 and _joined.count == 1 and not _LEADING.get():
        if device not in ("auto", "cpu", "cuda"):
            raise SettingsError(
                f"model.device={device} would be the device of {started_count()} processes; "
                "leave it at auto, and each takes its own"
            )
        _joined = _meet(cpu=device == "cpu" or not _has_accelerator())
    return current()


def leave() -> None:
    """Part from the others, when all is done."""
    global _joined
    if _joined.count > 1:
        from torch import distributed

        distributed.destroy_process_group()
        _joined = ALONE


def interleave(parts: Sequence[Sequence[T]]) -> list[T]:
    """What was dealt out in turns, back in its order.

    >>> interleave([[0, 3], [1, 4], [2]])
    [0, 1, 2, 3, 4]
    """
    longest = max(map(len, parts), default=0)
    return [part[turn] for turn in range(longest) for part in parts if turn < len(part)]


def _has_accelerator() -> bool:
    """Whether there is a device that several processes can train on, which Apple's is not."""
    import torch

    found = torch.accelerator.current_accelerator()
    return found is not None and found.type != "mps" and torch.accelerator.is_available()


def _meet(*, cpu: bool) -> Ranks:
    import torch
    from accelerate import PartialState
    from torch import distributed

    # Else accelerate counts physical cores, which fails where they are hidden.
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    with _all_alive():
        state = PartialState(cpu=cpu, timeout=STEP_TIMEOUT)
        # gloo notices at once when a process is gone, whatever carries the gradients.
        control = distributed.new_group(backend="gloo", timeout=LEAD_TIMEOUT)
    return Ranks(
        index=state.process_index,
        count=state.num_processes,
        device="cpu" if state.device.type == "cpu" else str(state.device),  # not cpu:0
        control=control,
    )


@contextmanager
def _all_alive() -> Iterator[None]:
    """A meeting, whose failure is a `RankError`."""
    try:
        yield
    except RuntimeError as error:  # of torch.distributed and its backends
        raise RankError(
            "another process of this training ended or does not answer; its own line says why, "
            "and if it has none it was killed, as where memory runs out"
        ) from error
