"""The U-Net that automatic results stand beside, trained on the same crops in the same run."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn

from mitosam.inference.head_maps import PixelModel
from mitosam.io.tables import write_csv
from mitosam.models.head import HeadShape
from mitosam.models.weight_files import read_weights
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_path
from mitosam.workflows.head import head_shape, start_network, train_pixel_network
from mitosam.workflows.models import LoadedModel
from mitosam.workflows.runs import Run

RIVAL = "unet"
CHANNELS, STRIDES = (16, 32, 64, 128, 256), (2, 2, 2, 2)


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
    """The run's U-Net, trained now if it is not there yet: as many steps on the same crops."""
    shape = head_shape(run, model).of_pixels_alone()
    network = UNet(shape)
    path = run.rival_weights(RIVAL)
    if path.exists():
        network.load_state_dict(read_weights(path))
        network.to(model.sam.device)
    else:
        start_network(network, run, model)
        result = train_pixel_network(run, model, network, shape, RIVAL, seconds_left, progress)
        write_csv(path.with_suffix(".csv"), result.curve)
        with atomic_path(path) as temporary:
            weights = {n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}
            temporary.write_bytes(save(weights))
        run.head_checkpoint(RIVAL).unlink(missing_ok=True)
    network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return PixelModel(network=network, shape=shape, precision=model.sam.precision)
