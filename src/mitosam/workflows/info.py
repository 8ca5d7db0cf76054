"""What a run, a model, a volume or this machine is, in names and values."""

from __future__ import annotations

from mitosam import __version__
from mitosam.errors import InputNotFoundError
from mitosam.io.hdf5 import names_dataset
from mitosam.io.place import Place, Url, place_of
from mitosam.workflows.runs import SETTINGS, Run
from mitosam.workflows.time_and_machine import machine

MODEL_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def info(thing: Place | str | None = None) -> dict[str, str]:
    """Facts about a run's folder, a model's file or name, or an image volume; else this machine.

    Raises
    ------
    InputNotFoundError
        There is no such file or folder, or nothing at a URL.
    """
    if thing is None:
        return _machine_facts()
    path = place_of(thing)
    if isinstance(path, Url):
        return _volume_facts(path)
    if path.is_dir() and (path / SETTINGS).exists():
        return _run_facts(Run.open(path))
    if path.suffix in MODEL_SUFFIXES or (path / "config.json").exists() or str(thing) == "vit_t":
        return _model_facts(str(thing))
    if not path.exists() and not names_dataset(path):
        raise InputNotFoundError(f"{path} does not exist")
    return _volume_facts(path)


def _machine_facts() -> dict[str, str]:
    import psutil
    import torch

    from mitosam.embeddings import CacheSettings, cache_folder
    from mitosam.models.precision import choose_precision
    from mitosam.workflows.models import choose_device

    device = choose_device("auto")
    facts = machine()
    return {
        "mitosam": __version__,
        "python": facts["python"],
        "system": facts["system"],
        "cores": str(facts["cores"]),
        "torch threads": str(torch.get_num_threads()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "device": str(device),
        "precision": choose_precision("auto", device),
        "embedding cache": str(cache_folder(CacheSettings())),
        **{name: version for name, version in facts["packages"].items() if name != "mitosam"},
    }


def _run_facts(run: Run) -> dict[str, str]:
    from mitosam.workflows.prepare import describe_split

    facts = {
        name: str(value)
        for name, value in run.provenance().items()
        if not isinstance(value, dict) and value is not None
    }
    if (run.prepared_folder / "parts.json").exists():
        for part in run.parts():
            facts[f"volume {part.volume.name}"] = (
                f"{part.volume.shape_zyx} sections, rows, columns; {describe_split(part.split)}"
            )
    for name, path in (
        ("tuned weights", run.tuned_weights),
        ("report", run.folder / "report.html"),
    ):
        facts[name] = str(path) if path.exists() else "not yet"
    return facts


def _model_facts(name: str) -> dict[str, str]:
    from mitosam.workflows.tuned_model import load_tuned_model

    usable = load_tuned_model(name)
    sam = usable.sam
    facts = {
        "architecture": sam.architecture,
        "parameters": f"{sum(p.numel() for p in sam.parameters()):,}",
        "input": f"{sam.input_px} px",
        "weights": sam.weights_hash,
    }
    if usable.info is not None:
        facts |= {
            "tuned from": usable.info.base_name,
            "trained": usable.info.created,
            "trained parts": ", ".join(usable.info.trained_parts),
            "tile": f"{usable.info.tile_px} px",
            "normalisation": ", ".join(f"{k}={v}" for k, v in usable.info.normalisation.items()),
            **{name: f"{score:.3f}" for name, score in usable.info.scores.items()},
        }
    return facts


def _volume_facts(path: Place) -> dict[str, str]:
    from mitosam.io.open import open_volume

    volume = open_volume(path)
    depth, height, width = volume.shape_zyx
    size = volume.voxel_size_nm
    return {
        "sections": str(depth),
        "rows x columns": f"{height} x {width} px",
        "values": volume.dtype.name,
        "voxel size (z, y, x)": " x ".join(f"{s:g}" for s in size) + " nm" if size else "not given",
        "first section": volume.section_names[0],
    }
