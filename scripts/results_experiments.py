"""The experiments of docs/results: what each trains on, is scored on, and how to repeat it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mitosam.config import override_settings, resolve_settings
from mitosam.progress import Progress
from mitosam.workflows.evaluate import evaluate
from mitosam.workflows.evaluate_automatic import evaluate_automatic
from mitosam.workflows.finetune import finetune
from mitosam.workflows.prepare import Sources
from mitosam.workflows.report import report
from mitosam.workflows.runs import Run
from mitosam.workflows.transfer import transfer

CURVE_SCORING = ("evaluation.max_sections=8",)
NO_HEAD = ("head.enabled=false",)
# From so many annotated sections, without validation, the head is trained too.
FEW, FEW_HEAD = 4, ("head.steps=1000",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """One annotated volume and how it is split; sections count from 1."""

    folder: Path
    images: str
    masks: str
    train: str
    validation: str
    test: str
    voxel_size_nm: tuple[float, float, float] | None = None

    @property
    def sources(self) -> Sources:
        """Its files."""
        return Sources(
            images=self.folder / self.images,
            masks=self.folder / self.masks,
            voxel_size_nm=self.voxel_size_nm,
        )

    def as_typed(self) -> str:
        """Its files as a user types them."""
        size = self.voxel_size_nm
        flag = f" --voxel-size {','.join(f'{nm:g}' for nm in size)}" if size else ""
        return f"DATA/{self.images} DATA/{self.masks}{flag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune:
    """Fine-tune on part of a volume and report on another part of it."""

    name: str
    data: Data
    preset: str = "default"
    train: str | None = None
    validation: str | None = None
    overrides: tuple[str, ...] = ()

    def run(self, folder: Path, progress: Progress) -> None:
        """Tune, or go on with it."""
        split = {"kind": "given", "train": self._train, "test": self.data.test}
        if self._validation:
            split["validation"] = self._validation
        settings = resolve_settings(
            preset=self.preset, values={"split": split}, overrides=self.overrides
        )
        resume = (folder / "settings.toml").exists()
        finetune(self.data.sources, folder, settings, resume=resume, progress=progress)

    def command(self) -> str:
        """The same on the command line."""
        validation = f" --validation {self._validation}" if self._validation else ""
        return (
            f"mitosam finetune {self.data.as_typed()} --preset {self.preset} --train {self._train}"
            f"{validation} --test {self.data.test}{_set(self.overrides)} --out {self.name}"
        )

    @property
    def _train(self) -> str:
        return self.train or self.data.train

    @property
    def _validation(self) -> str:
        return self.data.validation if self.validation is None else self.validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescore:
    """Score the model of an earlier experiment in another way."""

    name: str
    source: str
    overrides: tuple[str, ...]

    def run(self, folder: Path, progress: Progress) -> None:
        """Score and report."""
        source = Run.open(folder.parent / self.source)
        score(source.derive(folder, override_settings(source.settings, self.overrides)), progress)

    def command(self) -> str:
        """The same on the command line."""
        return f"mitosam evaluate {self.source}{_set(self.overrides)} --out {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Score the model of an earlier experiment on a volume that it has never seen."""

    name: str
    source: str
    data: Data

    def run(self, folder: Path, progress: Progress) -> None:
        """Score and report."""
        model, files = folder.parent / self.source, self.data.sources
        sections = self.data.test
        run = transfer(
            model, files.images, files.masks, folder, sections=sections, progress=progress
        )
        if run.settings.head.enabled:
            evaluate_automatic(run, progress=progress)
        score(run, progress)

    def command(self) -> str:
        """The same on the command line."""
        images, masks = self.data.as_typed().split()[:2]
        return (
            f"mitosam evaluate {self.source} --images {images} --masks {masks} "
            f"--sections {self.data.test} --out {self.name}"
        )


Experiment = Tune | Rescore | Transfer


def score(run: Run, progress: Progress) -> None:
    """Evaluate and report, and note the time it took."""
    started = time.monotonic()
    evaluation = evaluate(run, progress=progress)
    run.record({"seconds": round(time.monotonic() - started, 1)})
    report(run, evaluation, progress=progress)


def experiments(
    epfl: Data, sbem: Data, curve: Sequence[int], pool: int, extra: tuple[str, ...] = ()
) -> list[Experiment]:
    """All experiments, those that others build on first."""
    volumes: list[Experiment] = [
        Tune(name="epfl-default", data=epfl, overrides=extra),
        Rescore(
            name="epfl-default-patch",
            source="epfl-default",
            overrides=('evaluation.objects="patch"',),
        ),
        Tune(name="sbem-default", data=sbem, overrides=extra),
        Tune(name="epfl-paper", data=epfl, preset="paper", overrides=extra),
        Tune(name="sbem-paper", data=sbem, preset="paper", overrides=extra),
        Transfer(name="epfl-to-sbem-default", source="epfl-default", data=sbem),
        Transfer(name="epfl-to-sbem-paper", source="epfl-paper", data=sbem),
    ]
    tuned = [
        Tune(
            name=f"curve-{count}",
            data=epfl,
            train=spread(count, pool),
            validation="",
            overrides=(*CURVE_SCORING, *NO_HEAD, *extra),
        )
        for count in curve
    ]
    few = Tune(
        name="epfl-four-sections",
        data=epfl,
        train=spread(FEW, pool),
        validation="",
        overrides=(*FEW_HEAD, *CURVE_SCORING, *extra),
    )
    every = Rescore(name="curve-all", source="epfl-default", overrides=CURVE_SCORING)
    return [*volumes, few, *tuned, every]


def spread(count: int, pool: int) -> str:
    """`count` of the sections 1 to `pool`, evenly spaced.

    >>> spread(1, 128), spread(4, 128)
    ('65', '17,49,81,113')
    """
    return ",".join(str(int((i + 0.5) * pool / count) + 1) for i in range(count))


def _set(overrides: tuple[str, ...]) -> str:
    return "".join(f" --set {text}" for text in overrides)
