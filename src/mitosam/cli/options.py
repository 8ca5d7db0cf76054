"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mitosam.errors import SettingsError
from mitosam.io.place import Place, place_of

if TYPE_CHECKING:
    from mitosam.config import RunSettings
    from mitosam.workflows.prepare import Sources

# typer knows no unions: what is a `Place` here, a path or a URL, is annotated as a path
Images = Annotated[
    Path,
    typer.Argument(
        parser=place_of,
        help="EM images: a stack (TIFF, MRC, HDF5), OME-Zarr, also at a URL, an image, or a "
        "folder of sections.",
    ),
]
DataImages = Annotated[
    Path,
    typer.Argument(
        parser=place_of,
        help="EM images: a stack (TIFF, MRC, HDF5), OME-Zarr, also at a URL, an image, or a "
        "folder of sections. Or a manifest (.toml) that names several volumes; see "
        "docs/datasets.md.",
    ),
]
DataMasks = Annotated[
    Path | None,
    typer.Argument(
        parser=place_of,
        help="Masks of the same sections, in any of these forms: 0 is background; 1, 255 or "
        "ids are objects. None with a manifest, which names them.",
    ),
]
AllowOutside = Annotated[
    bool,
    typer.Option("--allow-outside", help="Let the manifest name files outside of its folder."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the new run.")]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings; see docs/settings.md."),
]
Preset = Annotated[
    str,
    typer.Option(help='"default", or "paper": the original experiment exactly.'),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, as training.epochs=3; may be given many times."),
]
Model = Annotated[
    str | None,
    typer.Option(help='Base model: "vit_t" (embedded), a Hugging Face name or folder, or a file.'),
]
Seed = Annotated[int | None, typer.Option(help="Everything random follows from this number.")]
Train = Annotated[
    str | None, typer.Option(help='Sections to train on, counted from 1: "1-104" or "1-20,40".')
]
Validation = Annotated[
    str | None, typer.Option(help="Sections that choose the best step (with --train).")
]
Test = Annotated[str | None, typer.Option(help="Sections to report on (with --train).")]
TestImages = Annotated[
    Path | None,
    typer.Option(parser=place_of, help="Images of another volume to report on instead."),
]
TestMasks = Annotated[Path | None, typer.Option(parser=place_of, help="Masks of that volume.")]
VoxelSize = Annotated[
    str | None, typer.Option(help="Voxel size z,y,x in nm, as 5,5,5, where the file has none.")
]
NumWorkers = Annotated[
    int,
    typer.Option(
        "--workers", min=1, help="Processes of this machine that share the work; docs/cluster.md."
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Instead, the workers of a running Dask scheduler, as tcp://host:8786.",
    ),
]
Memory = Annotated[
    float,
    typer.Option(
        metavar="GB",
        min=1.0,
        help="Memory that each process may take, about; results are the same.",
    ),
]


def settings_from(
    *,
    preset: str,
    config: Path | None,
    overrides: list[str] | None,
    model: str | None = None,
    seed: int | None = None,
    split: dict[str, str | None] | None = None,
) -> RunSettings:
    """Settings from the options that were given."""
    from mitosam.config import resolve_settings

    values: dict[str, Any] = {}
    if seed is not None:
        values["seed"] = seed
    if model is not None:
        values["model"] = {"name": model}
    ranges = {name: text for name, text in (split or {}).items() if text}
    if ranges:
        values["split"] = {"kind": "given", **ranges}
    return resolve_settings(preset=preset, file=config, overrides=overrides or (), values=values)


def sources_from(
    images: Place,
    masks: Place | None,
    test_images: Place | None = None,
    test_masks: Place | None = None,
    voxel_size: str | None = None,
    *,
    allow_outside: bool = False,
) -> Sources:
    """The files that the options name, or those of the manifest that stands in their place."""
    from mitosam.data.manifest import is_manifest
    from mitosam.workflows.prepare import Sources

    if is_manifest(images):
        if masks or test_images or test_masks or voxel_size:
            raise SettingsError(
                f"{images} is a manifest, which names masks, voxel sizes and what is reported on; "
                "leave out MASKS, --test-images, --test-masks and --voxel-size"
            )
        return Sources.of_manifest(images, allow_outside=allow_outside)
    if masks is None:
        raise SettingsError(f"MASKS of {images} are missing; only a manifest (.toml) names its own")
    if allow_outside:
        raise SettingsError("--allow-outside is for a manifest, got images and masks")
    if (test_images is None) != (test_masks is None):
        raise SettingsError("--test-images and --test-masks go together, got only one of them")
    return Sources(
        images=images,
        masks=masks,
        test_images=test_images,
        test_masks=test_masks,
        voxel_size_nm=parse_voxel_size(voxel_size),
    )


def parse_voxel_size(text: str | None) -> tuple[float, float, float] | None:
    """z, y, x in nm.

    >>> parse_voxel_size("30,8,8")
    (30.0, 8.0, 8.0)
    """
    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--voxel-size needs three numbers z,y,x in nm, got {text!r}") from None
    if not all(0 < size < math.inf for size in (z, y, x)):
        raise SettingsError(f"--voxel-size needs finite numbers above 0, got {text!r}")
    return z, y, x


def parse_citation(text: str) -> tuple[str, str]:
    """What is cited, and its DOI.

    >>> parse_citation("Ada et al.: Engines; 10.1000/182")
    ('Ada et al.: Engines', '10.1000/182')
    """
    cited, divider, doi = (part.strip() for part in text.rpartition(";"))
    if not (divider and cited and doi):
        raise SettingsError(f"--cite needs 'TEXT; DOI', got {text!r}")
    return cited, doi


def parse_duration(text: str | None) -> float:
    """Seconds; no text is no limit.

    >>> parse_duration("1h30min")
    5400.0
    """
    if text is None:
        return float("inf")
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)", text.strip())
    if not parts or "".join(a + b for a, b in parts) != re.sub(r"\s", "", text):
        raise SettingsError(f"--budget needs a time such as 30min, 1h30min or 90s, got {text!r}")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise SettingsError(f"--budget must be above 0, got {text!r}")
    return seconds


_SECONDS = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}
