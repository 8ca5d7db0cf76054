"""A tuned model in the formats that other software loads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mitosam.errors import OutputExistsError, SettingsError
from mitosam.models.export import export_huggingface, export_original
from mitosam.storage import require_new_folder
from mitosam.workflows.tuned_model import load_tuned_model

ExportFormat = Literal["huggingface", "original"]
FORMATS: tuple[ExportFormat, ...] = ("huggingface", "original")


def export(model: Path | str, out: Path, *, to: ExportFormat = "huggingface") -> Path:
    """Write a whole model: base weights with the tuned part in their place.

    "huggingface" writes a folder, "original" a `.pth` with segment-anything's names.

    Raises
    ------
    OutputExistsError
        `out` exists already.
    """
    if to not in FORMATS:
        raise SettingsError(f"format must be one of {', '.join(FORMATS)}, got {to!r}")
    if out.exists() and not (to == "huggingface" and out.is_dir()):
        raise OutputExistsError(f"{out} exists already; choose another --out")
    sam = load_tuned_model(model).sam
    if to == "huggingface":
        export_huggingface(sam, require_new_folder(out))
    else:
        export_original(sam, out)
    return out
