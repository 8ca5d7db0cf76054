"""From a click to its mask, the decoder alone, many boxes at once, and stepping through a stack."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fresh import reply
from benchmarks.interactive_subject import boxes_of, points, write_stack
from mitosam.config import resolve_settings
from mitosam.io.volume import Volume
from mitosam.prompts import Prompts
from mitosam.ui.browser.pictures import runs
from mitosam.ui.session.model_assistant import ModelAssistant
from mitosam.ui.session.opening import open_session
from mitosam.ui.session.session import Session

BOXES = 40
WARMUP = 5
POLL_S = 0.01


def measure(
    *,
    folder: str,
    images: str | None,
    masks: str | None,
    num_sections: int,
    clicks: int,
    seconds_a_section: float,
) -> dict[str, Any]:
    """Seconds of everything that a user waits for, with vit_t."""
    home = Path(folder) / "interactive"
    stack, truth = write_stack(home, images, masks, num_sections)
    settings = resolve_settings(overrides=[f"cache.folder={home / 'embeddings'}"])
    session = open_session(stack, model="vit_t", out=home / "work", settings=settings)
    try:
        started = time.perf_counter()
        session.look_at(0)
        _until(lambda: 0 in session.embedded())
        embed_s = time.perf_counter() - started
        waited = _step_through(session, seconds_a_section)
        _until(lambda: len(session.embedded()) == num_sections)
        return {
            "subject": stack.stem,
            "embed_section_s": embed_s,
            "steps": num_sections - 1,
            "steps_that_waited": waited,
            "click": _waits(_clicks(session, truth, clicks)),
            "decoder": _waits(_decoder(session, truth, clicks)),
            **_batch(session, truth),
        }
    finally:
        session.close()


def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(POLL_S)


def _step_through(session: Session, seconds_a_section: float) -> int:
    """How often the next section was not ready after so many seconds on the one before."""
    view, waited = session.view(0), 0
    for z in range(1, session.shape_zyx[0]):
        time.sleep(seconds_a_section)
        waited += z not in session.embedded()
        view.go(z)
    return waited


def _clicks(session: Session, truth: Volume, count: int) -> list[float]:
    """From a click to its candidates, and the chosen one as it is sent to the page."""
    view, seconds = session.view(0), []
    for z, x, y in points(truth, count + WARMUP):
        view.go(z)
        started = time.perf_counter()
        view.add_point(x, y)
        view.snapshot()
        mask = view.draft_mask()
        if mask is not None:
            runs(mask[2])
        seconds.append(time.perf_counter() - started)
    return seconds[WARMUP:]


def _assistant(session: Session) -> ModelAssistant:
    assistant = session.assistant
    assert isinstance(assistant, ModelAssistant)
    return assistant


def _decoder(session: Session, truth: Volume, count: int) -> list[float]:
    """The masks of a box alone, as the decoder and its enlarging give them."""
    seconds, boxes = [], boxes_of(truth, 0)
    for number in range(count + WARMUP):
        prompt = Prompts(boxes_xyxy=boxes[[number % len(boxes)]])
        started = time.perf_counter()
        _assistant(session).candidates(0, prompt)
        seconds.append(time.perf_counter() - started)
    return seconds[WARMUP:]


def _batch(session: Session, truth: Volume) -> dict[str, Any]:
    boxes = np.concatenate([boxes_of(truth, 0)] * BOXES)[:BOXES]
    started = time.perf_counter()
    _assistant(session).outline(0, boxes)
    return {"boxes": len(boxes), "batch_s": time.perf_counter() - started}


def _waits(seconds: list[float]) -> dict[str, float]:
    return {
        "median": float(np.median(seconds)),
        "p95": float(np.percentile(seconds, 95)),
        "most": max(seconds),
        "count": len(seconds),
    }


if __name__ == "__main__":
    reply(measure)
