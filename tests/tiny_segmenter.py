"""A tuned model with a head of random weights, which finds something at random but always the same.

It needs no training, so that whole segmentations take a second.
"""

from __future__ import annotations

from pathlib import Path

import torch

import mitosam
from mitosam.data.intensity import Normalisation
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.models.head import Head, HeadShape
from mitosam.models.input_size import resize_input
from mitosam.models.load import load_model
from mitosam.models.tuned import TunedInfo, add_head, read_tuned_info, save_tuned, update_info
from mitosam.workflows.automatic import AutomaticInfo
from tests.models.tiny_models import HIDDEN
from tests.tiny_runs import short_settings

THRESHOLDS = InstanceSettings(
    foreground_threshold=0.5,
    boundary_threshold=0.5,
    min_area_px=12,
    min_volume_voxels=40,
    min_confidence=0,
)


def make_head(
    seed: int = 0, *, embedding_channels: int = HIDDEN, section_offsets=(-1, 0, 1)
) -> Head:
    """A narrow head whose maps vary from pixel to pixel."""
    shape = HeadShape(
        section_offsets=section_offsets,
        embedding_channels=embedding_channels,
        width=4,
        grey_mean=128,
        grey_std=40,
    )
    head = Head(shape)
    generator = torch.Generator().manual_seed(seed)
    for parameter in head.parameters():
        if parameter.ndim > 1:
            spread = (2 / parameter[0].numel()) ** 0.5
            parameter.data.copy_(spread * torch.randn(parameter.shape, generator=generator))
    head.out.bias.data.zero_()
    return head.eval().requires_grad_(False)


def write_tuned(
    path: Path,
    base: Path,
    *,
    with_head: bool = True,
    seed: int = 8,
    normalisation=None,
    trained_with=(),
    pixel_nm=None,
) -> Path:
    """`path`, written as training writes it, on the base model of a folder."""
    settings = short_settings(base, *trained_with)
    sam = resize_input(load_model(str(base)), settings.model.input_px)
    info = TunedInfo(
        base_name=str(base),
        base_hash=sam.weights_hash,
        normalisation=(normalisation or Normalisation()).to_dict(),
        tile_px=settings.data.tile_side_px,
        input_px=sam.input_px,
        pixel_nm=pixel_nm,
        trained_parts=("mask_decoder",),
        settings_toml=settings.to_toml(),
        scores={},
        created="2026-01-02T03:04:05+00:00",
        mitosam_version=mitosam.__version__,
    )
    names = [name for name, _ in sam.named_parameters() if name.startswith("mask_decoder.")]
    save_tuned(path, sam, info, names)
    if with_head:
        add_head(path, make_head(seed))
        methods = {"head": THRESHOLDS, "prompted": THRESHOLDS}
        automatic = AutomaticInfo(instances=methods, validation_sections=3, scores={"head": 0.5})
        json_text = automatic.model_dump_json()
        found = read_tuned_info(path)
        update_info(path, found.model_copy(update={"automatic_json": json_text}))
    return path
