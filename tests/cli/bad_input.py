"""Cases of bad input: commands that end in one line with the way out, and touch nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from mitosam.io.prompt_files import write_prompts
from mitosam.prompts import Prompts
from mitosam.workflows.prepare import Sources
from mitosam.workflows.runs import Run
from tests.tiny_runs import SHORT, contents


@dataclass(frozen=True)
class Place:
    """Where a case finds good files and may put bad ones."""

    folder: Path
    sources: Sources
    model: Path
    run: Run

    @property
    def out(self):
        return self.folder / "out"

    def finetune(self, *, images=None, masks=None, out=None, model=None, more=()):
        settings = [part for text in SHORT for part in ("--set", text)]
        return [
            "finetune",
            images or self.sources.images,
            masks or self.sources.masks,
            *("--out", out or self.out, "--model", model or self.model),
            *settings,
            *more,
        ]

    def images(self):
        return tifffile.imread(self.sources.images)

    def masks(self):
        return tifffile.imread(self.sources.masks)

    def write(self, name, array):
        path = self.folder / name
        tifffile.imwrite(path, array, photometric="minisblack")
        return path

    def prompts(self, z, box):
        path = self.folder / "prompts.csv"
        write_prompts(path, {z: Prompts(boxes_xyxy=np.array([box], np.float64))})
        return path

    def predict(self, *, images=None, model=None, prompts=None):
        prompts = prompts or self.prompts(0, [1, 1, 20, 20])
        model = ["--model", model or self.model]
        return [
            "predict",
            images or self.sources.images,
            "--out",
            self.out,
            *model,
            "--prompts",
            prompts,
        ]


class Cases(dict):
    """Functions from a place to a command, by name, and what their errors must say."""

    def case(self, message):
        def register(function):
            self[function.__name__.replace("_", " ")] = (function, message)
            return function

        return register


def assert_one_line_and_nothing_touched(entry, place, mitosam):
    """Run a case, and look at what it said and left."""
    function, message = entry
    command = function(place)
    folders = (place.folder, place.sources.images.parent, place.run.folder, place.model)
    before = [contents(folder) for folder in folders]
    done = mitosam(*command)
    assert done.code == 2
    lines = done.err.strip().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert re.search(message, lines[-1])
    assert "Traceback" not in done.err
    assert done.out == ""
    assert [contents(folder) for folder in folders] == before
