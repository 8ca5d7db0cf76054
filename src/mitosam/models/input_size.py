"""A model that encodes at another input side than it was trained at.

A smaller input is encoded in less time and memory, a larger one keeps finer outlines. SAM's ViT
learnt a position for each cell of its grid, and in its global layers one for each distance between
cells; both are interpolated. TinyViT knows distances within its windows alone, and those stay.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamConfig
from transformers.models.sam.modeling_sam import SamPromptEncoder, SamVisionEncoder

from mitosam.errors import ModelError, SettingsError
from mitosam.models.promptable import Promptable, hash_weights
from mitosam.models.tinyvit import TinyViT

Model = TypeVar("Model", bound=Promptable)
# How often the widest features of an encoder are held at once, in fp32: before, in and after a
# nonlinearity.
NUM_COPIES = 3
TINY_VIT_STRIDES = (4, 8, 16, 16)


def resize_input(model: Model, input_px: int | None) -> Model:
    """`model` itself, which from now on takes square inputs of side `input_px`.

    None changes nothing, and neither does the side it has already. `weights_hash` stays that of the
    weights as they were read, so that no rounding of this machine tells base models apart.

    Raises
    ------
    SettingsError
        The side is no multiple of the model's stride, smaller than its attention's windows, or
        takes more memory than there is.
    ModelError
        Models of this family take no other input.
    """
    if input_px in (None, model.input_px):
        return model
    assert input_px is not None
    encoder = model.vision_encoder
    if not isinstance(encoder, TinyViT | SamVisionEncoder):
        raise ModelError(
            f"{model.name} ({model.architecture}) takes inputs of {model.input_px} px alone; "
            "leave model.input_px out"
        )
    _check_side(model, input_px)
    if isinstance(encoder, TinyViT):
        encoder.config = replace(encoder.config, input_px=input_px)
    else:
        _resize_vit(encoder, input_px // stride_of(model))
    _resize_prompts(model, input_px)
    model.resized_hash = hash_weights(model.state_dict().items())
    return model


def is_trained(model: Promptable) -> bool:
    """Whether any weight is another than when the model was loaded, and resized."""
    untrained = model.resized_hash or model.weights_hash
    return hash_weights(model.state_dict().items()) != untrained


def stride_of(model: Promptable) -> int:
    """Input pixels to a side of one cell of the embedding."""
    return model.input_px // model.embedding_shape[1]


def _check_side(model: Promptable, input_px: int) -> None:
    stride, window_px = stride_of(model), largest_window_px(model)
    if input_px % stride:
        raise SettingsError(
            f"model.input_px must be a multiple of {stride} for {model.name}, got {input_px}"
        )
    if input_px < window_px:
        raise SettingsError(
            f"model.input_px must be at least {window_px}, the window of {model.name}'s attention, "
            f"got {input_px}"
        )
    import psutil

    needed, free = encoding_bytes(model, input_px), psutil.virtual_memory().available
    if needed > free:
        raise SettingsError(
            f"model.input_px = {input_px} takes about {needed / 1e9:.0f} GB of memory to encode, "
            f"and {free / 1e9:.0f} GB are free; choose a smaller one"
        )


def largest_window_px(model: Promptable) -> int:
    """The side, in input pixels, of the largest window within which the encoder attends."""
    encoder: Any = model.vision_encoder
    if isinstance(encoder, TinyViT):
        windows = zip(encoder.config.window_sizes[1:], TINY_VIT_STRIDES[1:], strict=True)
        return max(size * stride for size, stride in windows)
    return int(max(layer.window_size for layer in encoder.layers)) * stride_of(model)


def encoding_bytes(model: Promptable, input_px: int) -> int:
    """About the memory that encoding one input takes: copies of the encoder's widest features."""
    encoder: Any = model.vision_encoder
    if isinstance(encoder, TinyViT):
        config = encoder.config
        stages = zip(TINY_VIT_STRIDES, config.embed_dims, strict=True)
        numbers = max((input_px // s) ** 2 * width * config.mlp_ratio for s, width in stages)
    else:
        numbers = (input_px // stride_of(model)) ** 2 * int(encoder.config.mlp_dim)
    return NUM_COPIES * 4 * numbers


def _resize_vit(encoder: SamVisionEncoder, side: int) -> None:
    """Give a ViT position tables for a grid of `side` x `side` cells."""
    patches = encoder.patch_embed
    patches.image_size = (side * patches.patch_size[0], side * patches.patch_size[1])
    patches.num_patches = side**2
    encoder.image_size = encoder.config.image_size = patches.image_size[0]
    if encoder.pos_embed is not None:
        encoder.pos_embed = _like(encoder.pos_embed, resize_grid(encoder.pos_embed, side))
    for layer in encoder.layers:
        if layer.window_size == 0 and encoder.config.use_rel_pos:
            for name in ("rel_pos_h", "rel_pos_w"):
                table = getattr(layer.attn, name)
                setattr(layer.attn, name, _like(table, resize_distances(table, side)))


def resize_grid(table: Float[Tensor, "1 h w C"], side: int) -> Float[Tensor, "1 side side C"]:
    """One position for each cell of another grid, bicubic."""
    moved = table.detach().float().permute(0, 3, 1, 2)
    resized = F.interpolate(moved, (side, side), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def resize_distances(table: Float[Tensor, "n C"], side: int) -> Float[Tensor, "m C"]:
    """One position for each distance, -(side - 1) to side - 1, in a row of `side` cells.

    As transformers does it in every forward pass.
    """
    moved = table.detach().float().t()[None]
    return F.interpolate(moved, 2 * side - 1, mode="linear")[0].t()


def _like(old: Tensor, new: Tensor) -> nn.Parameter:
    return nn.Parameter(new.to(old).contiguous(), requires_grad=old.requires_grad)


def _resize_prompts(model: Promptable, input_px: int) -> None:
    """Let prompts, and what describes the model, know of the new side."""
    side = input_px // stride_of(model)
    prompts = model.prompt_encoder
    assert isinstance(prompts, SamPromptEncoder), "both encoders of these models are SAM's"
    prompts.input_image_size, prompts.image_embedding_size = input_px, (side, side)
    model._image_position = None
    config = deepcopy(model.config)
    if isinstance(model.vision_encoder, TinyViT):
        config["tiny_vit"]["input_px"] = input_px
        config["sam"] = _with_side(config["sam"], input_px).to_diff_dict()
    else:
        config = _with_side(config, input_px).to_dict()
    model.config = config


def _with_side(config: dict[str, object], input_px: int) -> SamConfig:
    resized = SamConfig.from_dict(config)
    for part in (resized.vision_config, resized.prompt_encoder_config):
        part.image_size = input_px
    prompts = resized.prompt_encoder_config
    prompts.image_embedding_size = input_px // prompts.patch_size
    return resized
