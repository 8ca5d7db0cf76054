"""The prompt-free head that comes with the embedded model, trained on made-up volumes alone."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from mitosam.models.head import Head, HeadShape
from mitosam.models.weight_files import read_metadata, read_weights
from mitosam.storage import atomic_path

SHIPPED_HEAD = Path(__file__).parent / "weights" / "vit_t_head.safetensors"
# The key of the safetensors metadata under which a HeadShape stands as JSON.
SHAPE_KEY = "mitosam_head"
MIN_AREA_PX = 150
"""Smallest instance in a section with which it was tried on real EM."""
WORTH = (
    "the head that comes with vit_t was trained on made-up volumes alone: on real EM it reached a "
    "foreground IoU of 0.5 to 0.6 and found about half of the mitochondria; take its labels as a "
    "first guess, and train on a few annotated sections (mitosam finetune) for results"
)


def load_shipped_head(path: Path = SHIPPED_HEAD) -> Head:
    """The head, ready for inference."""
    shape = HeadShape.model_validate_json(read_metadata(path)[SHAPE_KEY])
    head = Head(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head.load_state_dict(read_weights(path))
    return head.requires_grad_(False).eval()


def save_shipped_head(path: Path, head: Head) -> None:
    """Write a head in half precision."""
    weights = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in head.state_dict().items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(weights, {SHAPE_KEY: head.shape.model_dump_json()}))
