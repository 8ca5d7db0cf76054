"""What training each preset of parts takes here, each measured in a process of its own.

So its peak memory is its own, and one that needs more than the machine has takes nothing down but
itself.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitosam.config import RunSettings, override_settings, validate_settings
from mitosam.errors import MitosamError
from mitosam.models.part_settings import PRESETS
from mitosam.progress import SILENT, Progress
from mitosam.workflows.peak_memory import peak_bytes

if TYPE_CHECKING:
    from mitosam.workflows.tiles import SectionTile

TIMED_STEPS = 4
"""Some of the answers of a step are corrected, so that no two take as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsTiming:
    """What one preset takes; only `refused` where it cannot be trained here."""

    preset: str
    front_s: float = 0.0
    """Seconds to compute a tile's features up to the first trained layer; 0 if that is all."""
    step_s: float = 0.0
    features_bytes: int = 0
    """A tile's features in the cache."""
    peak_bytes: int = 0
    retrains_encoder: bool = False
    """Whether every tile that is scored must be encoded anew after training."""
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPreset:
    """A whole run with one preset of parts."""

    preset: str
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    cache_bytes: int = 0
    refused: str = ""


def time_presets(tile: SectionTile, settings: RunSettings, progress: Progress) -> list[PartsTiming]:
    """Each preset on one tile of a prepared volume, cheapest first."""
    return [
        _in_its_own_process(tile, settings, preset)
        for preset in progress.track(list(PRESETS), "timing what can be trained", unit="preset")
    ]


def _in_its_own_process(tile: SectionTile, settings: RunSettings, preset: str) -> PartsTiming:
    values = settings.model_dump(mode="json", exclude_none=True)
    place = str(tile.volume.folder), tile.section, astuple(tile.window)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_leave_interrupts_alone) as pool:
        try:
            answer = pool.submit(_time, place, values, preset).result()
        except BrokenProcessPool:
            return PartsTiming(preset=preset, refused="needs more memory than there is")
        except MitosamError as error:
            return PartsTiming(preset=preset, refused=str(error))
    return PartsTiming(preset=preset, **answer)


def _leave_interrupts_alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits


def _time(
    place: tuple[str, int, tuple[int, ...]], values: dict[str, Any], preset: str
) -> dict[str, Any]:
    """In the new process: what `PartsTiming` holds.

    `place` says where the tile lies: its volume's folder, its section, and its window.
    """
    from mitosam.data.prepared import PreparedVolume
    from mitosam.geometry import Window
    from mitosam.training.parts import choose_parts
    from mitosam.training.trainer import Trainer
    from mitosam.workflows.decoder import examples_before
    from mitosam.workflows.models import load_base
    from mitosam.workflows.tiles import SectionTile

    settings = override_settings(validate_settings(values), [f"training.parts={preset}"])
    model = load_base(settings)
    folder, section, window = place
    volume = PreparedVolume.open(Path(folder))
    tile = SectionTile(volume=volume, section=section, window=Window(*window))
    parts = choose_parts(model.sam, settings.training, seed=settings.seed)
    inputs = model.sam.prepare(tile.pixels(), tile.frame(model.sam.input_px))
    front_s = 0.0
    features_bytes = 0
    if parts.frontier.is_cacheable:
        front_s = min(_seconds(lambda: parts.frontier.front(inputs)) for _ in range(2))
        features_bytes = 2 * parts.frontier.front(inputs).numel()
    examples = examples_before(parts.frontier, [tile], model, settings, SILENT)
    trainer = Trainer(model.sam, parts, examples, examples, settings.training, seed=0)
    trainer.step(0, 0.5)  # the first pays for memory and kernels made once
    steps = range(1, 1 + TIMED_STEPS)
    step_s = _seconds(lambda: [trainer.step(n, 0.5) for n in steps]) / TIMED_STEPS
    return {
        "front_s": front_s,
        "step_s": step_s,
        "features_bytes": features_bytes,
        "peak_bytes": peak_bytes(),
        "retrains_encoder": not parts.frontier.is_embedding,
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best_that_fits(
    planned: Sequence[PlannedPreset], *, seconds: float, memory_bytes: float
) -> str | None:
    """The best preset of whose whole run the time holds enough, and the memory all; or None.

    Training stops when the time is up, and a better part half trained is worth more than a worse
    one trained to the end.
    """
    fitting = [
        one.preset
        for one in planned
        if not one.refused
        and one.seconds * ENOUGH <= seconds
        and one.peak_memory_bytes <= memory_bytes
    ]
    ranked = [preset for preset in BEST_FIRST if preset in fitting]
    return ranked[0] if ranked else None


ENOUGH = 0.5
"""Of a whole run, the share that must fit."""
BEST_FIRST = ("full", "late", "lora", "decoder")
"""By what they reached on validation sections (docs/results/components.md)."""
