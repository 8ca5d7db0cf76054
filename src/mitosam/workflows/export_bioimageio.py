"""A package for the BioImage Model Zoo: one network as ONNX, with all that is needed to run it."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from string import Template

import imageio.v3 as imageio
import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import Tensor

from mitosam.data.intensity import Normalisation
from mitosam.data.phantom import make_phantom
from mitosam.errors import OutputExistsError, SettingsError
from mitosam.inference.head_maps import FLIPS
from mitosam.models.export_graphs import (
    AutomaticGraph,
    PromptedGraph,
    require_packages,
    write_onnx,
)
from mitosam.models.head import STRIDE_PX, Head
from mitosam.models.settings import ModelSettings
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_path
from mitosam.workflows.automatic_model import base_of_head
from mitosam.workflows.export_check import check_package, quiet
from mitosam.workflows.export_rdf import GREY, Network, PackageFacts, describe, raw_dtype
from mitosam.workflows.tuned_model import UsableModel

PACKAGES = ("bioimageio.spec", "onnx", "onnxruntime")
README = Path(__file__).parents[1] / "models" / "readmes" / "bioimageio.md"
EXAMPLE_BOXES = ((0.1, 0.15, 0.45, 0.5), (0.5, 0.4, 0.9, 0.85))
"""Boxes of the test input, as shares of the tile's side."""


def export_bioimageio(
    usable: UsableModel,
    head: Head | None,
    path: Path,
    facts: PackageFacts,
    *,
    progress: Progress = SILENT,
) -> None:
    """Write a zip of rdf.yaml (format 0.5), the weights as ONNX, test tensors, and README.md.

    With a head it holds the network that takes no prompts: grey sections in, foreground and
    boundary out. Without one it holds SAM: a section and boxes in, a mask for each box out.
    It is read and run anew before it is left.

    Raises
    ------
    OutputExistsError
        The file exists already.
    SettingsError
        A package of the extra is missing, or what the package is to say of itself does not suit.
    ModelError
        What was written is not valid, or does not compute what the model does; nothing is left.
    """
    _check(usable, path, facts)
    with (
        atomic_path(path) as package,
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder,
    ):
        work = Path(folder)
        network = _prompted(usable) if head is None else _automatic(usable, head)
        steps = (
            partial(_write_network, network, work),
            partial(_write_package, usable, network, facts, work, package),
            partial(check_package, package),
        )
        for step in progress.track(steps, "writing and checking the package", unit="step"):
            step()


def _check(usable: UsableModel, path: Path, facts: PackageFacts) -> None:
    require_packages("bioimageio", PACKAGES)
    if path.exists():
        raise OutputExistsError(f"{path} exists already; remove it or choose another name")
    if path.suffix != ".zip":
        raise SettingsError(f"a BioImage.IO package is a .zip file, got {path.name}; name it so")
    if not facts.authors:
        raise SettingsError("a BioImage.IO package names its authors; pass --author 'NAME, PLACE'")
    if usable.tile_px % STRIDE_PX:
        raise SettingsError(
            f"the tile's side must be a multiple of {STRIDE_PX} px for a BioImage.IO package, got "
            f"{usable.tile_px}; train with another data.tile_px, or export to onnx"
        )


def _automatic(usable: UsableModel, head: Head) -> Network:
    sam = base_of_head(head.shape, usable, ModelSettings(device="cpu", precision="fp32"))
    graph = AutomaticGraph(sam or usable.sam, head, usable.tile_px, FLIPS).eval()
    offsets = head.shape.section_offsets
    sections = _made_up(len(offsets), usable)
    with torch.no_grad():
        maps = graph(sections)
    names = tuple(f"z{offset:+d}" if offset else "z" for offset in offsets)
    return Network(
        graph=graph,
        what=(
            f"It takes no prompts. From grey sections ({', '.join(names)}; at the ends of a stack "
            "the outermost one is repeated) it says for each pixel of section z how likely it is "
            "`foreground`, a mitochondrion, and how likely `boundary`, the outline of one. "
            "Instances are the connected parts of the foreground above a threshold, parted where "
            "there is boundary."
        ),
        inputs={"sections": sections},
        outputs={"maps": maps},
        channels={"sections": names, "maps": ("foreground", "boundary")},
        any_length={},
    )


def _prompted(usable: UsableModel) -> Network:
    graph = PromptedGraph(usable.sam, usable.tile_px).eval()
    image = _made_up(1, usable)
    boxes = torch.tensor([EXAMPLE_BOXES]) * usable.tile_px
    with torch.no_grad():
        masks, scores = graph(image, boxes)
    return Network(
        graph=graph,
        what=(
            "It takes a grey section and a box round each mitochondrion (x0, y0, x1, y1 in pixels "
            "of the tile), and gives a mask and a predicted IoU for each box."
        ),
        inputs={"image": image, "box_prompts": boxes},
        outputs={"masks": masks, "scores": scores},
        channels={
            "image": ("grey",),
            "box_prompts": ("x0", "y0", "x1", "y1"),
            "masks": ("mask",),
            "scores": ("predicted_iou",),
        },
        any_length={name: {1: "object"} for name in ("box_prompts", "masks", "scores")},
    )


def _made_up(num_sections: int, usable: UsableModel) -> Float32[Tensor, "1 K T T"]:
    """Sections of the phantom: a package is passed on, so it holds none of the user's images.

    They are in 0 to 255, as they come of what `raw_grey` makes of them.
    """
    side = usable.tile_px
    phantom = make_phantom((num_sections, side, side), 0, (10.0, 10.0, 10.0))
    raw = raw_grey(phantom.images[None].astype(np.float32), usable.normalisation)
    return torch.from_numpy(grey_of(raw, usable.normalisation))


def _write_network(network: Network, folder: Path) -> None:
    lengths = network.any_length
    write_onnx(
        network.graph,
        network.inputs,
        {name: lengths.get(name, {}) for name in network.outputs},
        folder / "weights.onnx",
        dynamic={name: axes for name, axes in lengths.items() if name in network.inputs},
    )


def _write_package(
    usable: UsableModel, network: Network, facts: PackageFacts, folder: Path, package: Path
) -> None:
    from bioimageio.spec import save_bioimageio_package

    for name, tensor in {**network.inputs, **network.outputs}.items():
        values = tensor.numpy()
        is_grey = name in GREY
        np.save(
            folder / f"{name}.npy", raw_grey(values, usable.normalisation) if is_grey else values
        )
    (folder / "README.md").write_text(_readme(usable, network, facts), encoding="utf-8")
    imageio.imwrite(folder / "cover.png", _cover(network))
    with quiet():
        description = describe(network, facts, usable.normalisation, folder)
        package.unlink()
        save_bioimageio_package(description, output_path=package)


def raw_grey(
    grey: Float32[np.ndarray, "1 K h w"], normalisation: Normalisation | None
) -> Shaped[np.ndarray, "1 K h w"]:
    """Images whose normalisation gives these grey values, as nearly as their numbers allow."""
    dtype = raw_dtype(normalisation)
    if normalisation is None or normalisation.kind == "identity":
        return grey.astype(dtype)
    raw = normalisation.low + grey * ((normalisation.high - normalisation.low) / 255)
    return (raw if dtype == "float32" else np.rint(raw)).astype(dtype)


def grey_of(
    raw: Shaped[np.ndarray, "1 K h w"], normalisation: Normalisation | None
) -> Float32[np.ndarray, "1 K h w"]:
    """The grey values that the package's preprocessing makes of images; they are not rounded."""
    values = raw.astype(np.float32)
    if normalisation is None or normalisation.kind == "identity":
        return values
    gain = 255 / (normalisation.high - normalisation.low)
    return ((values - normalisation.low) * gain).clip(0, 255).astype(np.float32)


def _cover(network: Network) -> Shaped[np.ndarray, "h w2"]:
    """The made-up input beside what the network says of it."""
    grey = next(iter(network.inputs.values()))[0]
    said = next(iter(network.outputs.values()))[0]
    shown = said[0] if said.ndim == 3 else said[:, 0].amax(0)
    beside = 255 * shown.float()
    return torch.cat([grey[len(grey) // 2], beside], dim=1).numpy().round().astype(np.uint8)


def _readme(usable: UsableModel, network: Network, facts: PackageFacts) -> str:
    info = usable.info
    assert facts.voxel_size_nm is not None, "export() refuses a package without it"
    _, y_nm, x_nm = facts.voxel_size_nm
    scores = info.scores if info else {}
    table = "\n".join(f"- {name}: {value:.3f}" for name, value in scores.items())
    return Template(README.read_text(encoding="utf-8")).substitute(
        name=facts.name,
        description=facts.description,
        what=network.what,
        base=info.base_name if info else usable.sam.name,
        version=info.mitosam_version if info else "",
        tile_px=usable.tile_px,
        pixel=f"{y_nm:g} x {x_nm:g}",
        scores=f"Scores on the validation sections of its training:\n\n{table}"
        if table
        else "No scores came with this model.",
    )
