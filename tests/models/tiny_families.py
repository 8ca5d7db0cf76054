"""Small random-weight models of the families, as transformers' own classes and as folders."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    EdgeTamConfig,
    EdgeTamModel,
    PreTrainedModel,
    Sam2Config,
    Sam2Model,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    SamHQConfig,
    SamHQModel,
)

from mitosam.models.repvit import RepVit
from tests.models.tiny_models import HIDDEN, randomise, tiny_sam_config

WIDTHS, DEPTHS = (8, 16, 24, 32), (1, 1, 2, 1)
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": WIDTHS[0],
    "num_attention_heads": 1,
    "blocks_per_stage": list(DEPTHS),
    "embed_dim_per_stage": list(WIDTHS),
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [4, 4, 4, 2],
    "global_attention_blocks": [3],
    "window_positional_embedding_background_size": [4, 4],
}
REPVIT = {
    "model_type": "timm_wrapper",
    "architecture": "repvit_m1.dist_in1k",
    "model_args": {"in_chans": 3, "features_only": True, "depth": list(DEPTHS)},
}


def _decoder() -> dict[str, object]:
    return {"hidden_size": HIDDEN, "mlp_dim": 48, "iou_head_hidden_dim": 24}


def _levels_config(input_px: int, backbone: dict[str, object], kind: str) -> dict[str, object]:
    side = input_px // 16
    return {
        "vision_config": {
            "model_type": kind,
            "backbone_config": backbone,
            "backbone_channel_list": list(WIDTHS[::-1]),
            "backbone_feature_sizes": [[times * side] * 2 for times in (4, 2, 1)],
            "fpn_hidden_size": HIDDEN,
        },
        "prompt_encoder_config": {"hidden_size": HIDDEN, "image_size": input_px},
        "mask_decoder_config": _decoder(),
    }


def make_sam2(input_px: int) -> Sam2Model:
    hiera = {**HIERA, "image_size": [input_px, input_px]}
    return Sam2Model(Sam2Config.from_dict(_levels_config(input_px, hiera, "sam2_vision_model")))


def make_edgetam(input_px: int) -> EdgeTamModel:
    """transformers' class; in the place of timm's RepViT, which is not here, stands this house's.

    Until then an encoder that needs no timm stands there.
    """
    config = EdgeTamConfig.from_dict(_levels_config(input_px, HIERA, "edgetam_vision_model"))
    model = EdgeTamModel(config)
    model.vision_encoder.backbone = RepVit(WIDTHS, DEPTHS)
    return model


def make_sam_hq(input_px: int) -> SamHQModel:
    config = tiny_sam_config(input_px).to_dict()
    config["model_type"] = "sam_hq"
    config["mask_decoder_config"]["vit_dim"] = config["vision_config"]["hidden_size"]
    for part in ("vision", "prompt_encoder", "mask_decoder"):
        config[f"{part}_config"]["model_type"] = f"sam_hq_{part}"
    return SamHQModel(SamHQConfig.from_dict(config))


def make_sam3_tracker(input_px: int) -> Sam3TrackerModel:
    side = input_px // 14
    config = {
        "vision_config": {
            "model_type": "sam3_vision_model",
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 24,
                "intermediate_size": 40,
                "num_hidden_layers": 2,
                "num_attention_heads": 3,
                "image_size": input_px,
                "window_size": 3,
                "global_attn_indexes": [1],
                "pretrain_image_size": 56,
            },
            "backbone_feature_sizes": [[times * side] * 2 for times in (4, 2, 1)],
            "fpn_hidden_size": HIDDEN,
        },
        "prompt_encoder_config": {"hidden_size": HIDDEN, "image_size": input_px},
        "mask_decoder_config": _decoder(),
    }
    return Sam3TrackerModel(Sam3TrackerConfig.from_dict(config))


@dataclass(frozen=True)
class FamilyCase:
    """One family: how to make transformers' model, and at which of its input sides."""

    make: Callable[[int], PreTrainedModel]
    input_px: int

    @property
    def grid(self) -> int:
        """The side of the embedding."""
        return self.input_px // (14 if self.input_px % 16 else 16)


FAMILIES = {
    "sam_hq": FamilyCase(make_sam_hq, 128),
    "sam2": FamilyCase(make_sam2, 128),
    "edgetam": FamilyCase(make_edgetam, 128),
    "sam3_tracker": FamilyCase(make_sam3_tracker, 126),
}


def make_theirs(family: str, seed: int = 0) -> PreTrainedModel:
    """transformers' own model of a family, with weights that let every part matter."""
    case = FAMILIES[family]
    model = case.make(case.input_px)
    randomise(model, seed)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) + 0.5)
    twin = model.prompt_encoder.shared_embedding.positional_embedding
    twin.data.copy_(model.shared_image_embedding.positional_embedding)
    return model.eval().requires_grad_(False)


def write_family(folder: Path, family: str, seed: int = 0) -> PreTrainedModel:
    """The model's folder as the hub has it, and the model."""
    model = make_theirs(family, seed)
    if family != "edgetam":
        model.save_pretrained(folder)
        return model
    # With timm's configuration, which transformers would not save without timm.
    folder.mkdir(parents=True)
    config = {
        "model_type": "edgetam",
        **_levels_config(FAMILIES[family].input_px, REPVIT, "edgetam_vision_model"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    return model


@contextlib.contextmanager
def correct_sam_hq(theirs: PreTrainedModel) -> Iterator[None]:
    """transformers' model, with what SAM-HQ's decoder scales up put right while this is entered.

    transformers 5.23 scales up the image from before the decoder's transformer, axes swapped;
    SAM-HQ's own code, as SAM's, what comes out of it (`src` in its mask_decoder_hq.py).
    """
    if not isinstance(theirs, SamHQModel):
        yield
        return
    seen: list[torch.Tensor] = []
    decoder = theirs.mask_decoder

    def keep(module: torch.nn.Module, inputs: object, outputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(outputs[1])

    def put(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        return (seen.pop().transpose(-1, -2).reshape(inputs[0].shape),)

    hooks = (
        decoder.transformer.register_forward_hook(keep),
        decoder.upscale_conv1.register_forward_pre_hook(put),
    )
    yield
    for hook in hooks:
        hook.remove()
