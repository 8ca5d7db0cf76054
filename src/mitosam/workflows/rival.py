"""The U-Net that automatic results stand beside, trained on the same crops in the same run."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from mitosam.checksums import damaged
from mitosam.errors import ModelError
from mitosam.inference.head_maps import PixelModel
from mitosam.io.tables import write_csv
from mitosam.models.head import HeadShape
from mitosam.models.weight_files import read_metadata, read_weights
from mitosam.progress import SILENT, Progress
from mitosam.sealed_tensors import seal_tensors
from mitosam.storage import atomic_path
from mitosam.training.checkpoint import remove_checkpoint
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.head import head_shape, start_network, train_pixel_network
from mitosam.workflows.models import LoadedModel
from mitosam.workflows.runs import Run, read_object, write_object

RIVAL = "unet"
CHANNELS, STRIDES = (16, 32, 64, 128, 256), (2, 2, 2, 2)
# The key of the safetensors metadata under which a HeadShape stands as JSON.
SHAPE_KEY = "mitosam_rival"


class UNet(nn.Module):
    """MONAI's plain 2D U-Net (Ronneberger 2015) on one section, without any embedding."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        from monai.networks.nets.unet import UNet as MonaiUNet

        self.shape = shape
        self.unet = MonaiUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=2,
            channels=CHANNELS,
            strides=STRIDES,
            # Its default normalises by what is in view, and that differs from crop to section.
            norm="batch",
        )

    def forward(
        self,
        stack: Float[Tensor, "B 1 height width"],
        embedding: Any = None,  # noqa: ANN401, ARG002
    ) -> Float[Tensor, "B 2 height width"]:
        """Logits of foreground and boundary."""
        logits: Tensor = self.unet((stack - self.shape.grey_mean) / self.shape.grey_std)
        return logits


def rival_model(
    run: Run,
    model: LoadedModel,
    *,
    seconds_left: float = math.inf,
    progress: Progress = SILENT,
) -> PixelModel:
    """The run's U-Net, trained now if it is not there yet: as many steps on the same crops.

    Raises
    ------
    ModelError
        Its file is damaged.
    """
    network = read_rival(run) if has_rival(run) else _train(run, model, seconds_left, progress)
    network.to(model.sam.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return PixelModel(network=network, shape=network.shape, precision=model.sam.precision)


def has_rival(run: Run) -> bool:
    """Whether the U-Net was trained."""
    return run.rival_weights(RIVAL).exists()


def read_rival_info(run: Run) -> AutomaticInfo:
    """What validation sections chose for the U-Net; the defaults where they did not.

    Raises
    ------
    DamagedFileError
        Its file is damaged.
    """
    path = _info_path(run.rival_weights(RIVAL))
    if not path.exists():
        return AutomaticInfo()
    try:
        return AutomaticInfo.model_validate(read_object(path))
    except ValueError as error:
        what = "it does not say how the U-Net's maps become instances"
        raise damaged(path, what, way_out="remove it to choose that anew") from error


def save_rival_info(run: Run, info: AutomaticInfo) -> None:
    """Keep what validation sections chose beside the U-Net's weights."""
    write_object(_info_path(run.rival_weights(RIVAL)), info.model_dump(mode="json"))


def copy_rival(weights: Path, run: Run) -> None:
    """Give a run the U-Net that was trained beside a tuned model's file, if one was."""
    source, target = weights.parent / "rivals" / f"{RIVAL}.safetensors", run.rival_weights(RIVAL)
    for path, copy in ((_info_path(source), _info_path(target)), (source, target)):
        if source.exists() and path.exists():
            with atomic_path(copy) as temporary:
                shutil.copyfile(path, temporary)


def _info_path(weights: Path) -> Path:
    return weights.with_suffix(".json")


def _train(run: Run, model: LoadedModel, seconds_left: float, progress: Progress) -> UNet:
    shape = head_shape(run, model).of_pixels_alone()
    network = UNet(shape)
    start_network(network, run, model)
    result = train_pixel_network(run, model, network, shape, RIVAL, seconds_left, progress)
    path = run.rival_weights(RIVAL)
    write_csv(path.with_suffix(".csv"), result.curve)
    with atomic_path(path) as temporary:
        weights = {n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}
        content = save(weights, {SHAPE_KEY: shape.model_dump_json()})
        temporary.write_bytes(seal_tensors(content))
    remove_checkpoint(run.head_checkpoint(RIVAL))
    return network


def read_rival(run: Run) -> UNet:
    """The run's U-Net, as it was trained.

    Raises
    ------
    ModelNotFoundError
        It was not trained.
    ModelError
        Its file is damaged.
    """
    path = run.rival_weights(RIVAL)
    try:
        network = UNet(HeadShape.model_validate_json(read_metadata(path).get(SHAPE_KEY, "")))
        network.load_state_dict(read_weights(path))
    except (ValidationError, RuntimeError) as error:
        raise ModelError(f"{path} is no U-Net of this version; remove it to train anew") from error
    return network
