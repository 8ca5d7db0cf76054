"""What segmenting is measured on: sections, a model, and maps that look like a trained head's.

Speed does not depend on the weights' values, but how many instances there are to connect and to
measure does. So the head has random weights and does all its arithmetic, and the true masks,
blurred, are handed on in the place of the noise that comes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from scipy import ndimage

from benchmarks.fresh import reply
from benchmarks.subject import open_sources, repeated
from mitosam import __version__
from mitosam.data.intensity import Normalisation
from mitosam.data.settings import DataSettings
from mitosam.inference.cores import EIGHT
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.maps import boundary_of_labels
from mitosam.io.volume import Volume
from mitosam.io.write import write_sections_tiff
from mitosam.models.head import Head, HeadShape
from mitosam.models.load import load_model
from mitosam.models.tuned import TunedInfo, add_head, read_tuned_info, save_tuned, update_info
from mitosam.training.head_settings import HeadSettings
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.calibrate import z_radius

VOXEL_SIZE_NM = (5.0, 5.0, 5.0)  # EPFL's and the phantom's
BLUR_PX = 1.5
GREY_MEAN, GREY_STD = 128.0, 40.0
MODEL, MAPS = "model.safetensors", "maps.raw"


def measure(
    *,
    folder: str,
    images: str | None,
    masks: str | None,
    sizes: list[int],
    phantom_yx: tuple[int, int],
) -> dict[str, Any]:
    """Write a stack of each number of sections, the maps of the longest, and the model."""
    target = Path(folder)
    target.mkdir(parents=True)
    count = max(sizes)
    image_volume, mask_volume = (
        repeated(volume, count) for volume in open_sources(images, masks, (count, *phantom_yx))
    )
    for size in sizes:
        _write_stack(target / stack_name(size), image_volume, size)
    with (target / MAPS).open("wb") as file:
        for section in mask_volume.sections():
            maps_of_truth(section).tofile(file)
    write_model(target / MODEL)
    return {"name": image_volume.name, "shape_yx": image_volume.shape_zyx[1:]}


def stack_name(num_sections: int) -> str:
    """The file of a stack."""
    return f"stack_{num_sections}.tif"


def _write_stack(path: Path, volume: Volume, count: int) -> None:
    height, width = volume.shape_zyx[1:]
    write_sections_tiff(
        path,
        (volume.section(z) for z in range(count)),
        shape_zyx=(count, height, width),
        dtype=volume.dtype,
        voxel_size_nm=volume.voxel_size_nm or VOXEL_SIZE_NM,
    )


def maps_of_truth(masks: Shaped[np.ndarray, "height width"]) -> UInt8[np.ndarray, "2 height width"]:
    """Foreground and boundary, 0 to 255, as soft as a trained head's."""
    labels = masks.astype(np.int64)
    if len(np.unique(labels)) <= 2:
        labels = np.asarray(ndimage.label(labels > 0, EIGHT)[0])
    both = np.stack([(labels > 0).astype(np.float32), boundary_of_labels(labels)])
    blurred = ndimage.gaussian_filter(both, (0, BLUR_PX, BLUR_PX))
    return np.asarray(np.rint(255 * blurred.clip(0, 1)).astype(np.uint8))


def stored_maps(folder: Path, shape_yx: tuple[int, int]) -> Iterator[UInt8[np.ndarray, "2 h w"]]:
    """The maps of one section after the other; read and not mapped, so that none stays."""
    shape = (2, *shape_yx)
    with (folder / MAPS).open("rb") as file:
        while (maps := np.fromfile(file, np.uint8, int(np.prod(shape)))).size:
            yield maps.reshape(shape)


def write_model(path: Path) -> None:
    """vit_t as it comes, beside a head of the default shape with random weights."""
    sam = load_model("vit_t")
    names = [name for name, _ in sam.named_parameters() if name.startswith("mask_decoder.")]
    info = TunedInfo(
        base_name="vit_t",
        base_hash=sam.weights_hash,
        normalisation=Normalisation().to_dict(),
        tile_px=DataSettings().tile_side_px,
        trained_parts=("mask_decoder",),
        settings_toml="",
        scores={},
        created="",
        mitosam_version=__version__,
    )
    save_tuned(path, sam, info, names)
    torch.manual_seed(0)
    add_head(path, Head(head_shape(sam.embedding_shape[0])))
    automatic = AutomaticInfo(
        instances={"head": instance_settings(), "prompted": instance_settings()}
    )
    info = read_tuned_info(path).model_copy(update={"automatic_json": automatic.model_dump_json()})
    update_info(path, info)


def head_shape(embedding_channels: int) -> HeadShape:
    """The default one."""
    settings = HeadSettings()
    return HeadShape(
        section_offsets=tuple(sorted({0, *settings.neighbours})),
        embedding_channels=embedding_channels,
        width=settings.width,
        grey_mean=GREY_MEAN,
        grey_std=GREY_STD,
    )


def instance_settings() -> InstanceSettings:
    """As validation chooses them for sections as far apart as pixels."""
    return InstanceSettings(z_radius=z_radius(1.0, 2), min_sections=2)


if __name__ == "__main__":
    reply(measure)
