"""The description of a BioImage.IO package: its tensors, axes, weights, authors and licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mitosam.data.intensity import Normalisation
from mitosam.errors import SettingsError
from mitosam.models.export_graphs import OPSET

if TYPE_CHECKING:
    from bioimageio.spec.model import v0_5

CITED = (("Kirillov et al. (2023): Segment Anything", "10.1109/ICCV51070.2023.00371"),)
"""What every package cites, with its DOI."""
TAGS = ("segment-anything", "mitochondria", "electron-microscopy", "instance-segmentation", "2d")
GREY = ("sections", "image")
"""The inputs that hold grey values."""
HALO = 1 / 8
"""The share of a tile's side that tools crop from each edge of a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts:
    """What a package says of itself.

    `authors` are names, each with an affiliation after a comma if wanted; `cite` is pairs of a text
    and its DOI, beside SAM's own; `licence` is an SPDX name such as CC-BY-4.0. `voxel_size_nm` is
    z, y, x. `mitosam.export` fills an empty name and voxel size in from the output and the run.
    """

    name: str = ""
    authors: tuple[str, ...] = ()
    voxel_size_nm: tuple[float, float, float] | None = None
    description: str = "Segments mitochondria in electron microscopy."
    licence: str = "Apache-2.0"
    cite: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network with one example of each input and output, under the names of the package.

    `channels` names the channels of each tensor that has them; `any_length` the axes that may have
    any length.
    """

    graph: nn.Module
    what: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    channels: Mapping[str, tuple[str, ...]]
    any_length: Mapping[str, Mapping[int, str]]


def raw_dtype(normalisation: Normalisation | None) -> str:
    """The numbers that images hold before they are normalised."""
    if normalisation is None or normalisation.kind == "identity":
        return "uint8"
    return normalisation.dtype if normalisation.dtype in ("uint16", "int16") else "float32"


def describe(
    network: Network, facts: PackageFacts, normalisation: Normalisation | None, folder: Path
) -> v0_5.ModelDescr:
    """The description of the files in `folder`: README.md, weights.onnx, and a .npy a tensor.

    Raises
    ------
    SettingsError
        The format takes no such licence, author, DOI or name.
    """
    from bioimageio.spec.model import v0_5
    from pydantic import ValidationError

    try:
        return v0_5.ModelDescr(
            name=facts.name,
            description=facts.description,
            authors=[_author(author) for author in facts.authors],
            cite=[
                v0_5.CiteEntry(text=text, doi=v0_5.Doi(doi)) for text, doi in (*CITED, *facts.cite)
            ],
            license=v0_5.LicenseId(facts.licence),
            documentation=v0_5.FileDescr(source=folder / "README.md"),
            covers=[v0_5.FileDescr(source=folder / "cover.png")],
            tags=list(TAGS),
            inputs=[_input(name, network, facts, normalisation, folder) for name in network.inputs],
            outputs=[_output(name, network, facts, folder) for name in network.outputs],
            weights=v0_5.WeightsDescr(onnx=_weights(folder)),
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "text"
        raise SettingsError(
            f"a BioImage.IO package cannot say this of itself: {place} {first['input']!r} "
            f"({first['msg']}); change --name, --author, --cite, --licence or --description"
        ) from error


def _author(text: str) -> v0_5.Author:
    from bioimageio.spec.model import v0_5

    name, _, affiliation = (part.strip() for part in text.partition(","))
    return v0_5.Author(name=name, affiliation=affiliation or None)


def _weights(folder: Path) -> v0_5.OnnxWeightsDescr:
    from bioimageio.spec.model import v0_5

    beside = folder / "weights.onnx.data"
    return v0_5.OnnxWeightsDescr(
        source=folder / "weights.onnx",
        opset_version=OPSET,
        external_data=v0_5.FileDescr(source=beside) if beside.exists() else None,
    )


def _input(
    name: str,
    network: Network,
    facts: PackageFacts,
    normalisation: Normalisation | None,
    folder: Path,
) -> v0_5.InputTensorDescr:
    from bioimageio.spec.model import v0_5

    is_grey = name in GREY
    axes: list[Any] = [v0_5.BatchAxis(size=1)]
    if not is_grey:
        size = v0_5.ParameterizedSize(min=1, step=1)
        axes.append(v0_5.IndexInputAxis(id=v0_5.AxisId("object"), size=size))
    axes.append(_channel_axis(network.channels[name]))
    if is_grey:
        axes += [
            v0_5.SpaceInputAxis(
                id=v0_5.AxisId(axis),
                size=side,
                scale=nm,
                unit="nanometer",
                # Larger sections may go tile by tile; boxes are in pixels of one tile.
                concatenable=not network.any_length,
            )
            for axis, side, nm in _space(network.inputs[name], facts)
        ]
    return v0_5.InputTensorDescr(
        id=v0_5.TensorId(name),
        axes=axes,
        data=v0_5.IntervalOrRatioDataDescr(type=raw_dtype(normalisation) if is_grey else "float32"),
        preprocessing=_preprocessing(normalisation) if is_grey else [],
        test_tensor=v0_5.FileDescr(source=folder / f"{name}.npy"),
    )


def _output(
    name: str, network: Network, facts: PackageFacts, folder: Path
) -> v0_5.OutputTensorDescr:
    from bioimageio.spec.model import v0_5

    tensor = network.outputs[name]
    axes: list[Any] = [v0_5.BatchAxis(size=1)]
    if name in network.any_length:
        axes.append(v0_5.IndexOutputAxis(id=v0_5.AxisId("object"), size=v0_5.DataDependentSize()))
    axes.append(_channel_axis(network.channels[name]))
    for axis, side, nm in _space(tensor, facts) if tensor.ndim > 3 else ():
        common = {"id": v0_5.AxisId(axis), "scale": nm, "unit": "nanometer"}
        size = v0_5.SizeReference(
            tensor_id=v0_5.TensorId(next(iter(network.inputs))), axis_id=v0_5.AxisId(axis)
        )
        if name in network.any_length:
            axes.append(v0_5.SpaceOutputAxis(**common, size=size))
        else:
            halo = max(1, round(side * HALO))
            axes.append(v0_5.SpaceOutputAxisWithHalo(**common, size=size, halo=halo))
    kind = "uint8" if name == "masks" else "float32"
    return v0_5.OutputTensorDescr(
        id=v0_5.TensorId(name),
        axes=axes,
        data=v0_5.IntervalOrRatioDataDescr(type=kind),
        test_tensor=v0_5.FileDescr(source=folder / f"{name}.npy"),
    )


def _channel_axis(names: tuple[str, ...]) -> v0_5.ChannelAxis:
    from bioimageio.spec.model import v0_5

    return v0_5.ChannelAxis(channel_names=list(names))


def _space(tensor: Tensor, facts: PackageFacts) -> list[tuple[str, int, float]]:
    """Of y and x the axis, its length, and the size of a pixel in nm."""
    height, width = tensor.shape[-2:]
    assert facts.voxel_size_nm is not None, "export() refuses a package without it"
    _, y_nm, x_nm = facts.voxel_size_nm
    return [("y", height, y_nm), ("x", width, x_nm)]


def _preprocessing(normalisation: Normalisation | None) -> list[Any]:
    """Grey values as the model's training had them, 0 to 255."""
    from bioimageio.spec.model import v0_5

    as_float = v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32"))
    kind: Any = raw_dtype(normalisation)
    first = v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype=kind))
    if normalisation is None or normalisation.kind == "identity":
        return [first, as_float]
    gain = 255 / (normalisation.high - normalisation.low)
    scale = v0_5.ScaleLinearKwargs(gain=gain, offset=-normalisation.low * gain)
    clip = v0_5.ClipKwargs(min=0, max=255)
    return [
        *(first, as_float),
        *(v0_5.ScaleLinearDescr(kwargs=scale), v0_5.ClipDescr(kwargs=clip), as_float),
    ]
