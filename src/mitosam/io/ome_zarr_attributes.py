"""The OME metadata of a volume that mitosam writes.

Specification: https://ngff.openmicroscopy.org/0.5/ (0.4 has the same, not below `ome`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mitosam.errors import InputError
from mitosam.io.ome_zarr_metadata import is_zarr, read_node
from mitosam.io.ome_zarr_pyramid import Kind, Level

NgffVersion = Literal["0.4", "0.5"]


def image_attributes(
    levels: tuple[Level, ...],
    *,
    name: str,
    kind: Kind,
    voxel_size_nm: tuple[float, float, float] | None,
    ngff_version: NgffVersion,
    in_image: bool,
) -> dict[str, Any]:
    """A group's attributes; steps are in nm, or in voxels without a unit where none is known.

    `in_image` says that labels lie in the `labels` folder of their image.
    """
    unit = {} if voxel_size_nm is None else {"unit": "nanometer"}
    size = voxel_size_nm or (1.0, 1.0, 1.0)
    multiscale = {
        "name": name,
        "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
        "datasets": [
            {
                "path": str(number),
                "coordinateTransformations": _transformations(level.factors_zyx, size, kind),
            }
            for number, level in enumerate(levels)
        ],
        "type": "nearest" if kind == "labels" else "mean",
        "metadata": {"method": "every second voxel" if kind == "labels" else "mean of 2 voxels"},
    }
    source = {"source": {"image": "../../"}} if in_image else {}
    ome: dict[str, Any] = {"multiscales": [multiscale]}
    if kind == "labels":
        ome["image-label"] = source
    if ngff_version == "0.5":
        return {"ome": {"version": "0.5", **ome}}
    multiscale["version"] = "0.4"
    return ome


def _transformations(
    factors_zyx: tuple[int, int, int], size_nm: tuple[float, float, float], kind: Kind
) -> list[dict[str, Any]]:
    """The scale, and for means the shift: the first lies in the middle of those it is made of."""
    pairs = list(zip(factors_zyx, size_nm, strict=True))
    scale = {"type": "scale", "scale": [factor * size for factor, size in pairs]}
    if kind == "labels" or max(factors_zyx) == 1:
        return [scale]
    shift = [(factor - 1) / 2 * size for factor, size in pairs]
    return [scale, {"type": "translation", "translation": shift}]


def check_place(into: Path, ngff_version: NgffVersion) -> None:
    """Raise if `into` lies in the labels of an image of another OME-Zarr version."""
    image = into.parent.parent
    if into.parent.name != "labels" or not is_zarr(image):
        return
    found = "0.5" if read_node(image).zarr_format == 3 else "0.4"
    if found != ngff_version:
        raise InputError(
            f"labels must be of their image's OME-Zarr version, got {ngff_version} labels for "
            f"{image}, which is {found}; write them elsewhere, or as {found}"
        )


def list_label(into: Path, ngff_version: NgffVersion) -> None:
    """Add a label volume to the list of its image's labels, if it lies in an image."""
    import zarr

    folder = into.parent
    if folder.name != "labels" or not is_zarr(folder.parent):
        return
    listed = read_node(folder).ome.get("labels") if is_zarr(folder) else None
    others = [label for label in listed if label != into.name] if isinstance(listed, list) else []
    labels = {"labels": [*others, into.name]}
    group = zarr.open_group(store=folder, mode="a", zarr_format=2 if ngff_version == "0.4" else 3)
    group.attrs.update({"ome": {"version": "0.5", **labels}} if ngff_version == "0.5" else labels)
