"""What is kept on disk of each block that was counted."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from mitosam.morphometry.block_counts import BlockCounts
from mitosam.morphometry.components import Faces
from mitosam.morphometry.kept import Kept, kept_name
from mitosam.morphometry.runs import Runs
from mitosam.morphometry.sums import InstanceSums, SectionSums

Sum = TypeVar("Sum", SectionSums, InstanceSums)


@dataclass(frozen=True, slots=True)
class KeptCounts:
    """What is kept of each block: its sums, its runs, its faces, and the ids of its regions."""

    folder: Path
    binary: bool
    """Whether a block's instances are regions, which are joined with those of other blocks."""

    def has(self, number: int, key: str, *, runs: bool) -> bool:
        """Whether all that is needed of a block is there, whole, and made from the same."""
        kinds = ["counts", *(["runs"] if runs else []), *(["faces"] if self.binary else [])]
        return all(self._kept.key(kept_name(kind, number)) == key for kind in kinds)

    def save(self, number: int, key: str, counts: BlockCounts, *, runs: bool) -> None:
        """Keep what was found in a block."""
        if runs:
            self._kept.save(kept_name("runs", number), key, _small_runs(counts.runs))
        if counts.faces is not None:
            self._kept.save(kept_name("faces", number), key, _arrays_of_faces(counts.faces))
        sums = {
            **{f"sections_{name}": value for name, value in counts.sections.columns().items()},
            **{f"instances_{name}": value for name, value in counts.instances.columns().items()},
        }
        self._kept.save(
            kept_name("counts", number), key, {**sums, "num_rows": np.array(len(counts.sections))}
        )

    def num_rows(self, number: int) -> int:
        """How many rows the block's sections have."""
        return int(self._kept.load(kept_name("counts", number), "num_rows")["num_rows"])

    def sections(self, number: int) -> SectionSums:
        """The block's sums over sections."""
        return self._sums(number, SectionSums, "sections")

    def instances(self, number: int) -> InstanceSums:
        """The block's sums over instances."""
        return self._sums(number, InstanceSums, "instances")

    def _sums(self, number: int, kind: type[Sum], prefix: str) -> Sum:
        names = [field.name for field in fields(kind)]
        arrays = self._kept.load(kept_name("counts", number), *(f"{prefix}_{n}" for n in names))
        sums = kind(**{name: arrays[f"{prefix}_{name}"] for name in names})
        return sums.renamed(self.ids(number)) if self.binary else sums

    def faces(self, number: int) -> Faces:
        """The block's regions where it meets others."""
        arrays = self._kept.load(kept_name("faces", number))
        return Faces(
            first_voxels=arrays["first_voxels"],
            lower=tuple(arrays[f"lower_{axis}"] for axis in range(3)),
            upper=tuple(arrays[f"upper_{axis}"] for axis in range(3)),
        )

    def save_ids(self, number: int, ids: Int[np.ndarray, " regions"]) -> None:
        """Keep which instance each region of the block, from 0 for background, is part of."""
        self._kept.save(kept_name("ids", number), "", {"ids": ids})

    def ids(self, number: int) -> Int[np.ndarray, " regions"]:
        """The instances that the block's regions are part of."""
        return self._kept.load(kept_name("ids", number))["ids"]

    def runs(self, number: int) -> Runs:
        """The block's runs, by instance."""
        runs = Runs(
            **{n: a.astype(np.int64) for n, a in self._kept.load(kept_name("runs", number)).items()}
        )
        if not self.binary:
            return runs
        ids = self.ids(number)[runs.instance]
        renamed = Runs(instance=ids, z=runs.z, y=runs.y, x0=runs.x0, x1=runs.x1)
        return renamed.at(np.argsort(renamed.instance, kind="stable"))

    @property
    def _kept(self) -> Kept:
        return Kept(self.folder)


def _small_runs(runs: Runs) -> dict[str, np.ndarray]:
    """The runs' columns; places in numbers of 32 bits, which no axis exceeds."""
    columns = {name: getattr(runs, name).astype(np.int32) for name in ("z", "y", "x0", "x1")}
    return {"instance": runs.instance, **columns}


def _arrays_of_faces(faces: Faces) -> dict[str, np.ndarray]:
    return {
        "first_voxels": faces.first_voxels,
        **{f"lower_{axis}": plane for axis, plane in enumerate(faces.lower)},
        **{f"upper_{axis}": plane for axis, plane in enumerate(faces.upper)},
    }
