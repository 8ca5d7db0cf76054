"""What `doctor` looks at in a run's folder: each file that a later stage reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mitosam import __version__
from mitosam.errors import DamagedFileError, InputError, MitosamError
from mitosam.models.tuned import read_tuned_info
from mitosam.progress import Progress
from mitosam.sealed_tensors import check_tensor_file
from mitosam.workflows.automatic_results import RECORD, read_record, recorded_folders
from mitosam.workflows.doctor import Finding
from mitosam.workflows.evaluate import check_scored_files
from mitosam.workflows.rival import RIVAL, read_rival_info
from mitosam.workflows.runs import PROVENANCE, SETTINGS, Run, read_object, read_sealed_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """One file of a run, and what is to be done where it is damaged."""

    path: Path
    read: Callable[[], object]
    means: str
    way_out: str
    is_repairable: bool = False


def look_at_run(path: Path, progress: Progress) -> Iterator[Finding]:
    """Files of a run that are damaged or missing, and whether another version wrote it."""
    for name, read in ((SETTINGS, read_sealed_settings), (PROVENANCE, read_object)):
        try:
            if (path / name).exists():
                read(path / name)
        except MitosamError as error:
            means = "no command can go on with the run"
            yield _finding(path / name, error, means, "restore it from a copy, or begin anew")
            return
    run = Run.open(path)
    for piece in progress.track(list(_pieces(run)), "reading the run", unit="file"):
        try:
            piece.read()
        except MitosamError as error:
            finding = _finding(piece.path, error, piece.means, piece.way_out)
            yield finding if not piece.is_repairable else _repairable(finding)
    yield from _stages(run)
    yield from _version(run)


def _pieces(run: Run) -> Iterator[_Piece]:
    again = "begin the run anew in another folder"
    if run.is_prepared:
        yield _Piece(
            path=run.prepared_folder, read=run.parts,
            means="nothing can be trained or scored on it", way_out=again,
        )  # fmt: skip
    for path in sorted(run.folder.glob("*checkpoint*.safetensors")):
        yield _Piece(
            path=path, read=lambda path=path: check_tensor_file(path),  # type: ignore[misc]
            means="training goes on from the checkpoint before, or begins anew without one",
            way_out="run the same command again; --repair removes it", is_repairable=True,
        )  # fmt: skip
    if run.tuned_weights.exists():
        yield _Piece(
            path=run.tuned_weights, read=lambda: read_tuned_info(run.tuned_weights),
            means="the model cannot be used", way_out="restore it, or remove it and train again",
        )  # fmt: skip
    for path in sorted(run.evaluation_folder.glob("*.json")):
        if path.with_suffix(".csv").exists() and not path.name.startswith("iou_"):
            yield _Piece(
                path=path, read=lambda path=path: _read_scores(path),  # type: ignore[misc]
                means="it is scored again", way_out="mitosam evaluate; --repair removes it",
                is_repairable=True,
            )  # fmt: skip
    yield from _automatic_pieces(run)


def _automatic_pieces(run: Run) -> Iterator[_Piece]:
    for folder in recorded_folders(run):
        yield _Piece(
            path=folder / RECORD, read=lambda path=folder / RECORD: read_record(path),  # type: ignore[misc]
            means="it is segmented again", way_out="mitosam evaluate --automatic; --repair "
            "removes it", is_repairable=True,
        )  # fmt: skip
    weights = run.rival_weights(RIVAL)
    if weights.exists():
        yield _Piece(
            path=weights, read=lambda: (check_tensor_file(weights), read_rival_info(run)),
            means="the U-Net cannot be scored", way_out="remove it to train it again",
        )  # fmt: skip


def _read_scores(path: Path) -> None:
    known = read_object(path)
    if not isinstance(known, dict):
        raise InputError(f"{path} is no JSON object; run `mitosam evaluate` again")
    check_scored_files(path, known)


def _stages(run: Run) -> Iterator[Finding]:
    """Which stages have not ended."""
    missing = (
        (run.is_prepared, "it is not prepared", "mitosam finetune, with the files and --resume"),
        (run.tuned_weights.exists(), "it is not trained", f"mitosam train {run.folder}"),
        (
            (run.evaluation_folder / "tuned.csv").exists(), "the tuned model is not scored",
            f"mitosam evaluate {run.folder}",
        ),
    )  # fmt: skip
    for is_there, what, way_out in missing:
        if not is_there:
            yield Finding(
                severity="remark", path=run.folder, what=what,
                means="a stage was stopped, or never started", way_out=way_out,
            )  # fmt: skip
            return


def _version(run: Run) -> Iterator[Finding]:
    try:
        packages = run.provenance().get("packages") or {}
    except MitosamError:
        return
    made = packages.get("mitosam")
    if made not in (None, "unknown", __version__):
        yield Finding(
            severity="remark", path=run.folder, what=f"made with mitosam {made}",
            means=f"this is {__version__}, whose results may differ", way_out="none needed",
        )  # fmt: skip


def _finding(path: Path, error: MitosamError, means: str, way_out: str) -> Finding:
    what = error.what if isinstance(error, DamagedFileError) and error.what else str(error)
    return Finding(severity="damage", path=path, what=what, means=means, way_out=way_out)


def _repairable(finding: Finding) -> Finding:
    return Finding(
        severity=finding.severity, path=finding.path, what=finding.what, means=finding.means,
        way_out=finding.way_out, is_repairable=True,
    )  # fmt: skip
