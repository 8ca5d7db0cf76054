"""What napari opens with mitosam: runs, segmentations, label volumes, and working folders.

viewer.open("segmented", plugin="mitosam")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mitosam.errors import MitosamError
from mitosam.io.ome_zarr_metadata import is_zarr, read_multiscale, read_node
from mitosam.io.open import open_volume
from mitosam.io.tables import read_csv
from mitosam.io.volume import Volume
from mitosam.ui.napari.layers import LayerData, lazy_volume, placed
from mitosam.ui.session import kept
from mitosam.workflows.runs import PROVENANCE, SETTINGS, Part, Run
from mitosam.workflows.segment_folder import FACTS, LABELS, PROBABILITY

Reader = Callable[[str | Sequence[str]], list[LayerData]]


def napari_get_reader(path: str | Sequence[str]) -> Reader | None:
    """What reads `path`; None where it is nothing that mitosam wrote, or several at once."""
    if not isinstance(path, str):
        return _only_one(path)
    folder = Path(path)
    for is_ours, read in KINDS:
        if folder.is_dir() and is_ours(folder):
            return lambda _: read(folder)
    return None


def _only_one(paths: Sequence[str]) -> Reader | None:
    return napari_get_reader(paths[0]) if len(paths) == 1 else None


def is_run(folder: Path) -> bool:
    """Whether `mitosam finetune` or `mitosam prepare` wrote it."""
    return (folder / SETTINGS).is_file() and (folder / PROVENANCE).is_file()


def is_segmentation(folder: Path) -> bool:
    """Whether `mitosam segment` wrote it."""
    return (folder / FACTS).is_file() and is_zarr(folder / LABELS)


def is_label_volume(folder: Path) -> bool:
    """Whether it is an OME-Zarr that says it holds labels."""
    try:
        return is_zarr(folder) and "image-label" in read_node(folder).ome
    except MitosamError:
        return False


def is_work(folder: Path) -> bool:
    """Whether an interactive session works in it."""
    return (folder / kept.LABELS).is_file()


def read_run(folder: Path) -> list[LayerData]:
    """The images and mitochondria of each prepared volume; of several, the first is shown.

    The left and right of halved sections lie side by side.

    Raises
    ------
    InputNotFoundError
        The run's preparation did not end.
    """
    parts = Run.open(folder).parts()
    side_by_side = len({part.volume.images_sha256 for part in parts}) == 1
    return [
        layer
        for number, part in enumerate(parts)
        for layer in _part_layers(folder, part, visible=number == 0 or side_by_side)
    ]


def _part_layers(folder: Path, part: Part, *, visible: bool) -> list[LayerData]:
    volume, split = part.volume, part.split
    origin = (0, 0, volume.info.columns[0])
    facts = {
        "run": str(folder),
        "train_sections": split.train,
        "validation_sections": split.validation,
        "test_sections": split.test,
    }
    shared = {
        "visible": visible,
        "metadata": {"mitosam": facts},
        **placed(volume.voxel_size_nm, origin_zyx=origin),
    }
    name = volume.name
    return [
        (volume.images, {"name": name, "contrast_limits": (0, 255), **shared}, "image"),
        (volume.labels, {"name": f"{name} mitochondria", **shared}, "labels"),
    ]


def read_segmentation(folder: Path) -> list[LayerData]:
    """The mitochondria with their measurements, and the probability if it was kept."""
    metadata = {"metadata": {"mitosam": {"segmentation": str(folder)}}}
    name, place = folder.resolve().name, placed(open_volume(folder / LABELS).voxel_size_nm)
    features = _measurements(folder / "mitochondria.csv")
    labels = {"name": f"{name} mitochondria", "features": features, **metadata, **place}
    layers: list[LayerData] = [(_pyramid(folder / LABELS), labels, "labels")]
    if is_zarr(folder / PROBABILITY):
        look = {
            "name": f"{name} probability",
            "colormap": "magma",
            "blending": "additive",
            "contrast_limits": (0, 255),
            "visible": False,
        }
        pyramid = _pyramid(folder / PROBABILITY)
        layers.insert(0, (pyramid, {**look, **metadata, **place}, "image"))
    return layers


def read_label_volume(folder: Path) -> list[LayerData]:
    """The labels of an OME-Zarr."""
    volume = open_volume(folder)
    return [(_pyramid(folder), {"name": volume.name, **placed(volume.voxel_size_nm)}, "labels")]


def read_work(folder: Path) -> list[LayerData]:
    """The objects that were outlined, as they are now.

    Raises
    ------
    StorageError
        The session is open still.
    """
    volume = kept.kept_labels(folder)
    look = {"name": f"{volume.name} mitochondria", **placed(volume.voxel_size_nm)}
    return [(lazy_volume(volume), look, "labels")]


def _pyramid(folder: Path) -> Any:  # noqa: ANN401  # one array, or as many as there are levels
    """An OME-Zarr's levels, finest first, as napari takes them; a lone level stands for itself."""
    image = read_multiscale(read_node(folder))
    assert image is not None, "open_volume() has read it"
    paths = [dataset.path for dataset in image.datasets[1:]]
    coarser: list[Volume] = [open_volume(folder / path) for path in paths]
    levels = [lazy_volume(volume) for volume in (open_volume(folder), *coarser)]
    return levels if coarser else levels[0]


def _measurements(table: Path) -> dict[str, Any]:
    """The columns of `mitochondria.csv`; napari finds an id's row by the column `index`."""
    if not table.is_file():
        return {}
    rows = read_csv(table, lambda row: row)
    columns = {name: _column([row[name] for row in rows]) for name in rows[0]} if rows else {}
    return {"index": columns["instance"].astype(np.int64), **columns} if columns else {}


def _column(cells: list[str]) -> np.ndarray[Any, Any]:
    """Numbers, NaN where a cell is empty; the texts themselves where one is no number."""
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return np.array(cells)


KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path], list[LayerData]]], ...] = (
    (is_run, read_run),
    (is_segmentation, read_segmentation),
    (is_label_volume, read_label_volume),
    (is_work, read_work),
)
