"""Where a segmentation grows until it is whole: what a stop leaves, and what goes on from it."""

from __future__ import annotations

import shutil
from pathlib import Path

from mitosam.errors import OutputExistsError, StorageError
from mitosam.progress import Progress
from mitosam.storage import write_text

LABELS, PROBABILITY = "labels.ome.zarr", "probability.ome.zarr"
FACTS = "segmentation.json"
IDENTITY = "identity.txt"
INSTANCES, SECTIONS, REPORT = "mitochondria.csv", "sections.csv", "report.html"
RESULTS = (LABELS, INSTANCES, SECTIONS, REPORT, FACTS)
"""What every result holds."""


class WorkFolder:
    """The hidden folder beside `out` in which the result grows, and which a stop leaves.

    `result` becomes `out`. The probability is needed for the measurement in any case; it lies in
    `result` only where it was asked for.
    """

    def __init__(self, out: Path, *, probability: bool) -> None:
        self.out = out.resolve()  # "." has no name, and so no place beside it
        self.folder = self.out.with_name(f".{self.out.name}.work")
        self.result = self.folder / "result"
        self.labels = self.result / LABELS
        kept, hidden = self.result / PROBABILITY, self.folder / PROBABILITY
        self.probability, self._unwanted = (kept, hidden) if probability else (hidden, kept)

    def take(self, identity: str, progress: Progress) -> None:
        """Go on with what was left of the same segmentation, or begin a new one.

        Raises
        ------
        OutputExistsError
            The folder holds what no segmentation left there.
        """
        known = self.folder / IDENTITY
        left = list(self.folder.iterdir()) if self.folder.is_dir() else []
        if known.exists() and known.read_bytes() == identity.encode():
            progress.say("going on with a segmentation that was stopped")
        elif known.exists():
            progress.say("starting anew: a segmentation that was stopped had other settings")
            shutil.rmtree(self.folder)
        elif self.folder.is_file() or any(_is_foreign(path) for path in left):
            raise OutputExistsError(
                f"{self.folder} is needed to work in and holds something else; "
                "choose another --out, or remove it if it is not needed"
            )
        if not known.exists():
            write_text(known, identity)
        self.result.mkdir(exist_ok=True)
        if self._unwanted.exists():
            self._unwanted.rename(self.probability)

    def hand_over(self) -> None:
        """Make the result appear as `out`, and leave nothing else.

        Raises
        ------
        StorageError
            Some of it went away while other files were written, as a disk does that is lost.
        """
        lost = [name for name in RESULTS if not (self.result / name).exists()]
        if lost or not (self.folder / IDENTITY).exists():
            raise StorageError(
                f"{self.folder} went away while it was written ({(lost or [IDENTITY])[0]} is "
                "missing); see whether its disk is there, and run again"
            )
        # Before, as what a stop leaves after it is never looked at again.
        shutil.rmtree(self.folder / "maps", ignore_errors=True)
        if self.out.exists():
            self.out.rmdir()  # empty: require_free() saw to that
        self.result.rename(self.out)
        shutil.rmtree(self.folder)


def _is_foreign(path: Path) -> bool:
    """Whether it is no identity that was cut short."""
    return not path.name.startswith(f".{IDENTITY}")
