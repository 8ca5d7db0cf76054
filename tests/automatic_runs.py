"""Runs with a prompt-free head of a few channels, trained in seconds."""

from __future__ import annotations

from pathlib import Path

from mitosam.config import RunSettings
from mitosam.workflows.head import train_head
from mitosam.workflows.prepare import Sources, prepare
from mitosam.workflows.runs import Run
from mitosam.workflows.train import train
from tests.tiny_runs import short_settings

HEAD = ("head.steps=12", "head.width=4", "head.crop_px=64", "head.batch_crops=2")
SPLIT = ("split.kind=given", 'split.train="1-4"', 'split.validation="6-7"', 'split.test="9-10"')


def head_settings(model: Path, *overrides: str) -> RunSettings:
    """Settings of a head that knows next to nothing, and of a split of ten sections."""
    return short_settings(model, *HEAD, *SPLIT, *overrides)


def train_run(sources: Sources, folder: Path, settings: RunSettings, *, head: bool = True) -> Run:
    """A run with a tuned mask decoder and a head, not scored yet."""
    run = prepare(sources, folder, settings)
    train(run)
    if head:
        train_head(run)
    return run
