"""A tuned model in the formats that other software loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from mitosam.errors import ModelError, OutputExistsError, SettingsError
from mitosam.models.export import export_huggingface, export_original
from mitosam.models.export_onnx import export_onnx
from mitosam.models.promptable import Promptable
from mitosam.models.sam import Sam
from mitosam.models.settings import ModelSettings
from mitosam.models.tuned import load_head
from mitosam.progress import SILENT, Progress
from mitosam.storage import require_new_folder
from mitosam.workflows.export_bioimageio import export_bioimageio
from mitosam.workflows.export_rdf import PackageFacts
from mitosam.workflows.runs import SETTINGS, Run
from mitosam.workflows.tuned_model import load_tuned_model, tuned_weights

ExportFormat = Literal["huggingface", "original", "onnx", "bioimageio"]
FORMATS: tuple[ExportFormat, ...] = ("huggingface", "original", "onnx", "bioimageio")
FOLDERS = ("huggingface", "onnx")
"""The formats that are folders; the others are files."""
NO_FACTS = PackageFacts()


def export(
    model: Path | str,
    out: Path,
    *,
    to: ExportFormat = "huggingface",
    facts: PackageFacts = NO_FACTS,
    progress: Progress = SILENT,
) -> Path:
    """Write a whole model: base weights with the tuned parts in their place.

    "huggingface" writes a folder, "original" a `.pth` with segment-anything's names, "onnx" a
    folder of encoder.onnx and decoder.onnx, and "bioimageio" a `.zip` for the BioImage Model Zoo,
    which says `facts` of itself. ONNX, which "bioimageio" holds too, is run and compared with torch
    before it is left.

    Raises
    ------
    OutputExistsError
        `out` exists already.
    SettingsError
        The format is unknown, or needs something that is not installed or not told.
    ModelError
        The model's architecture has no such format.
    """
    if to not in FORMATS:
        raise SettingsError(f"format must be one of {', '.join(FORMATS)}, got {to!r}")
    if out.exists() and not (to in FOLDERS and out.is_dir()):
        raise OutputExistsError(f"{out} exists already; choose another --out")
    if to == "bioimageio":
        facts = _completed(facts, model, out)
    # What is exported is compared with what the same numbers give everywhere.
    usable = load_tuned_model(model, ModelSettings(device="cpu", precision="fp32"))
    if to == "onnx":
        export_onnx(_require_sam(usable.sam, to), out, tile_px=usable.tile_px, progress=progress)
    elif to == "bioimageio":
        _require_sam(usable.sam, to)
        weights = tuned_weights(Path(model))
        head = load_head(weights) if weights else None
        export_bioimageio(usable, head, out, facts, progress=progress)
    else:
        for file in progress.track((out,), "writing the weights", unit="file"):
            if to == "huggingface":
                export_huggingface(usable.sam, require_new_folder(file))
            else:
                export_original(usable.sam, file)
    return out


def _require_sam(model: Promptable, to: ExportFormat) -> Sam:
    if not isinstance(model, Sam) or model.architecture not in ("sam", "vit_t"):
        raise ModelError(
            f"format {to} is there for SAM and MobileSAM, and {model.name} is a "
            f"{model.architecture}; export it with --to huggingface"
        )
    return model


def _completed(facts: PackageFacts, model: Path | str, out: Path) -> PackageFacts:
    """The facts with what a run knows in the place of what was not told."""
    size = facts.voxel_size_nm or _voxel_size_of(Path(model))
    if size is None:
        raise SettingsError(
            "a BioImage.IO package tells the size of a pixel, and this model does not know it; "
            "pass --voxel-size 5,5,5 (z,y,x in nm)"
        )
    return replace(facts, voxel_size_nm=size, name=facts.name or f"mitosam {out.stem}")


def _voxel_size_of(model: Path) -> tuple[float, float, float] | None:
    """The voxels of a run's first volume with annotations."""
    folder = model.parent if model.is_file() else model
    if not (folder / SETTINGS).exists():
        return None
    return next((part.volume.voxel_size_nm for part in Run.open(folder).parts()), None)
