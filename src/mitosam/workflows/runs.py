"""A run's folder: where each stage writes, and what proves how it came about."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from mitosam.checksums import (
    damaged,
    sealed_object,
    sealed_text,
    unsealed_object,
    unsealed_text,
)
from mitosam.config import RunSettings, changed_settings, read_settings
from mitosam.data.prepared import PreparedVolume
from mitosam.data.splits import Split
from mitosam.errors import (
    DamagedFileError,
    InputError,
    InputNotFoundError,
    MitosamError,
    SettingsError,
    StorageError,
)
from mitosam.io.limits import read_text
from mitosam.storage import require_new_folder, write_text
from mitosam.workflows.time_and_machine import machine, now

log = logging.getLogger(__name__)

SETTINGS, PROVENANCE, PARTS = "settings.toml", "run.json", "parts.json"
CREATED = "created"
ANEW = "make the run anew"
MAX_NAME = 255
"""Of letters in a file's name, which file systems have in common."""
# The fact in run.json that says what data.tile_px = "auto" came to.
TILE_SIZE = "tile size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One prepared volume and what its sections are for."""

    volume: PreparedVolume
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: its folder and its resolved settings.

    settings.toml   the resolved settings
    run.json        data and model hashes, versions, machine, command, times
    prepared/       images and labels of each volume, parts.json (written last)
    checkpoint.safetensors   the state of a training that has not ended
    model.safetensors        the tuned part of the model
    training.csv    the training curve
    head_training.csv        the same of the prompt-free head
    evaluation/     scores of each method, masks of the patches
    automatic/      labels of each method that takes no prompts
    rivals/         the U-Net that stands beside them
    report.html     the report; automatic.html is that of the results without prompts

    A run that was derived from another to be scored differently has its own scores and report,
    and reads that run's data and model, which lie in `source`.
    """

    folder: Path
    settings: RunSettings
    source: Path | None = None

    @classmethod
    def create(cls, folder: Path, settings: RunSettings) -> Run:
        """A new run in a folder that holds nothing yet."""
        require_new_folder(folder)
        run = cls(folder=folder, settings=settings)
        write_settings(folder / SETTINGS, settings)
        run.record({CREATED: now(), "command": " ".join(sys.argv), **machine()})
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """A run that exists.

        Raises
        ------
        InputNotFoundError
            The folder is not a run.
        """
        if not (folder / SETTINGS).is_file():
            raise InputNotFoundError(
                f"{folder} is not a run (it has no {SETTINGS}); "
                "make one with `mitosam finetune` or `mitosam prepare`"
            )
        run = cls(folder=folder, settings=read_sealed_settings(folder / SETTINGS))
        source = run.provenance().get("derived_from")
        return replace(run, source=Path(source)) if source else run

    @classmethod
    def resume(cls, folder: Path, settings: RunSettings) -> Run:
        """A run that exists, provided it has these settings.

        Raises
        ------
        SettingsError
            It was made with others; the first are named.
        """
        run = cls.open(folder)
        changed = changed_settings(run.settings, run._with_its_tile(settings))
        if changed:
            raise SettingsError(
                f"{folder} was made with other settings ({'; '.join(changed[:3])}); "
                "resume with the same ones or choose another --out"
            )
        return run

    def _with_its_tile(self, settings: RunSettings) -> RunSettings:
        """Settings that ask for `data.tile_px = "auto"`, with what that gave in this run."""
        tile_px = self.settings.data.tile_px
        if settings.data.tile_px != "auto" or TILE_SIZE not in self.provenance():
            return settings
        return with_tile(settings, tile_px)

    def with_settings(self, settings: RunSettings) -> Run:
        """The run with other settings, which its folder holds from now on."""
        write_settings(self.folder / SETTINGS, settings)
        return replace(self, settings=settings)

    def derive(self, folder: Path, settings: RunSettings) -> Run:
        """A new run in another folder that scores this run's data and model differently.

        Raises
        ------
        SettingsError
            More than the evaluation differs.
        """
        require_same_training(self.settings, settings)
        run = Run.create(folder, settings)
        source = (self.source or self.folder).resolve()
        run.record(self.provenance() | run.provenance() | {"derived_from": str(source)})
        return replace(run, source=source)

    def require_own_model(self) -> None:
        """Raise SettingsError if the run only scores another run's model."""
        if self.source is not None:
            raise SettingsError(
                f"{self.folder} only scores the model of {self.source}; train that run"
            )

    @property
    def prepared_folder(self) -> Path:
        """Where prepared volumes are."""
        return (self.source or self.folder) / "prepared"

    @property
    def is_prepared(self) -> bool:
        """Whether preparation ended."""
        return (self.prepared_folder / PARTS).is_file()

    @property
    def trains(self) -> bool:
        """Whether its model is its own, rather than another run's that it only scores."""
        return self.source is None and any(part.split.train for part in self.parts())

    @property
    def checkpoint(self) -> Path:
        """The state of a training that has not ended."""
        return self.folder / "checkpoint.safetensors"

    @property
    def tuned_weights(self) -> Path:
        """What training made."""
        return (self.source or self.folder) / "model.safetensors"

    @property
    def training_curve(self) -> Path:
        """What training wrote down as it went."""
        return (self.source or self.folder) / "training.csv"

    def head_checkpoint(self, name: str) -> Path:
        """The state of the training of a head, or of a rival of it, that has not ended."""
        return self.folder / f"{name}_checkpoint.safetensors"

    @property
    def head_training_curve(self) -> Path:
        """What the head's training wrote down as it went."""
        return (self.source or self.folder) / "head_training.csv"

    def automatic_folder(self, name: str) -> Path:
        """Maps and labels of an automatic method on some of the run's sections."""
        return self.folder / "automatic" / name

    def rival_weights(self, name: str) -> Path:
        """A rival of the head, trained on the same sections."""
        return (self.source or self.folder) / "rivals" / f"{name}.safetensors"

    @property
    def evaluation_folder(self) -> Path:
        """Scores and masks."""
        return self.folder / "evaluation"

    def record(self, facts: dict[str, Any]) -> None:
        """Add facts to run.json."""
        write_object(self.folder / PROVENANCE, self.provenance() | facts)

    def provenance(self) -> dict[str, Any]:
        """What run.json says."""
        path = self.folder / PROVENANCE
        return read_object(path) if path.exists() else {}  # killed before it was written

    def write_parts(self, parts: dict[str, Split]) -> None:
        """Say which prepared volumes there are and how their sections are split."""
        splits = {name: _split_to_json(split) for name, split in parts.items()}
        write_object(self.prepared_folder / PARTS, splits)

    def parts(self) -> list[Part]:
        """The prepared volumes.

        Raises
        ------
        InputNotFoundError
            Preparation did not end.
        """
        path = self.prepared_folder / PARTS
        if not self.is_prepared:
            raise InputNotFoundError(
                f"{self.folder} is not prepared (there is no {path}); "
                "run `mitosam prepare` or `mitosam finetune --resume`"
            )
        found = read_object(path)
        return [
            Part(
                volume=PreparedVolume.open(self.prepared_folder / _plain(path, name)),
                split=_split_from_json(path, split),
            )
            for name, split in found.items()
        ]

    def fingerprint(self, weights_hash: str) -> str:
        """A hash of all that training depends on: settings, data, split and base model."""
        facts = {
            "settings": self.settings.model_dump(mode="json", exclude={"cache", "evaluation"}),
            "data": [
                (part.volume.images_sha256, part.volume.masks_sha256, _split_to_json(part.split))
                for part in self.parts()
            ],
            "model": weights_hash,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@contextmanager
def new_run(folder: Path, settings: RunSettings) -> Iterator[Run]:
    """A new run, taken back if what fills it meets an error that a user can mend.

    A kill leaves it as it is, to be gone on with.

    Raises
    ------
    StorageError
        The folder went away meanwhile, with what was written to it.
    """
    existed = folder.exists()
    run = Run.create(folder, settings)
    try:
        yield run
        if not _is_whole(run):
            raise StorageError(
                f"{folder} went away while it was written; see whether its disk is there, and run "
                "again"
            )
    except MitosamError:
        shutil.rmtree(folder, ignore_errors=True)
        if existed:
            folder.mkdir(exist_ok=True)
        raise


def _is_whole(run: Run) -> bool:
    """Whether all that was written to a new run is there, from its beginning to its end."""
    begun = (run.folder / SETTINGS).exists() and CREATED in run.provenance()
    return begun and run.is_prepared and bool(run.parts())


def write_settings(path: Path, settings: RunSettings) -> None:
    """The settings as TOML, with a checksum in the first line."""
    write_text(path, sealed_text(settings.to_toml()))


def read_sealed_settings(path: Path) -> RunSettings:
    """The settings that a run was made with.

    Raises
    ------
    DamagedFileError
        They were changed since.
    """
    try:
        unsealed_text(path, read_text(path, error=SettingsError))
        return read_settings(path)
    except UnicodeDecodeError as error:
        raise damaged(path, str(error), way_out=f"restore it, or {ANEW}") from error
    except SettingsError as error:
        raise SettingsError(f"{error}; restore {path}, or {ANEW}") from error


def write_object(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON object that a run holds, with its checksum."""
    write_text(path, json.dumps(sealed_object(values), indent=2) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object that a run holds.

    Raises
    ------
    DamagedFileError
        It is damaged.
    """
    try:
        return unsealed_object(path, json.loads(read_text(path)))
    except DamagedFileError as error:
        raise damaged(path, error.what, way_out=ANEW) from error
    except MitosamError:
        raise
    except (ValueError, AttributeError, RecursionError) as error:
        raise damaged(path, str(error), way_out=ANEW) from error


def with_tile(settings: RunSettings, tile_px: int | Literal["auto"]) -> RunSettings:
    """The settings with another `data.tile_px`."""
    data = settings.data.model_copy(update={"tile_px": tile_px})
    return settings.model_copy(update={"data": data})


def require_same_training(before: RunSettings, after: RunSettings) -> None:
    """Raise SettingsError where more than the evaluation differs."""
    changed = changed_settings(before, after)
    wrong = [text for text in changed if not text.startswith("evaluation.")]
    if wrong:
        raise SettingsError(
            f"only settings of [evaluation] can change after training, got {wrong[0]}"
        )


def _split_to_json(split: Split) -> dict[str, Any]:
    return {
        "train": split.train,
        "validation": split.validation,
        "test": split.test,
        "unused": split.unused,
        "leaky": split.leaky,
        "note": split.note,
    }


def _plain(path: Path, name: str) -> str:
    """The name of a volume that lies among the run's own."""
    if len(name) > MAX_NAME:
        raise InputError(
            f"{path} names {name[:50]!r}..., which no folder can be called; make it anew"
        )
    if PurePosixPath(name).name != name or PureWindowsPath(name).name != name:
        raise InputError(f"{path} names {name[:100]!r}, which is outside of the run; make it anew")
    return name


def _split_from_json(path: Path, values: Any) -> Split:  # noqa: ANN401  # whatever JSON holds
    try:
        return Split(
            train=tuple(map(int, values["train"])),
            validation=tuple(map(int, values["validation"])),
            test=tuple(map(int, values["test"])),
            unused=tuple(map(int, values["unused"])),
            leaky=bool(values["leaky"]),
            note=str(values["note"]),
        )
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({error}); make the run anew") from error
