"""Weight names: segment-anything's and MobileSAM's to transformers', and back.

Source: the published checkpoints of https://github.com/facebookresearch/segment-anything and
https://github.com/ChaoningZhang/MobileSAM, and `transformers.models.sam`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from mitosam.errors import ModelError
from mitosam.models.promptable import POSITION_TWICE

Array = TypeVar("Array")

# (original, transformers), each a regular expression whose groups the other side repeats.
_PROMPT_ENCODER = [
    ("prompt_encoder.point_embeddings.#", "prompt_encoder.point_embed.#"),
    ("prompt_encoder.mask_downscaling.0", "prompt_encoder.mask_embed.conv1"),
    ("prompt_encoder.mask_downscaling.1", "prompt_encoder.mask_embed.layer_norm1"),
    ("prompt_encoder.mask_downscaling.3", "prompt_encoder.mask_embed.conv2"),
    ("prompt_encoder.mask_downscaling.4", "prompt_encoder.mask_embed.layer_norm2"),
    ("prompt_encoder.mask_downscaling.6", "prompt_encoder.mask_embed.conv3"),
]
_MASK_DECODER = [
    ("mask_decoder.transformer.layers.#.norm#", "mask_decoder.transformer.layers.#.layer_norm#"),
    ("mask_decoder.transformer.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"),
    ("mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"),
    ("mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"),
    ("mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"),
] + [
    (f"mask_decoder.{head}.{original}", f"mask_decoder.{head}.{ours}")
    for head in ("output_hypernetworks_mlps.#", "iou_prediction_head")
    for original, ours in (
        ("layers.0", "proj_in"),
        ("layers.1", "layers.0"),
        ("layers.2", "proj_out"),
    )
]
_VIT_ENCODER = [
    ("image_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"),
    ("image_encoder.blocks.#.norm#", "vision_encoder.layers.#.layer_norm#"),
    ("image_encoder.blocks.#", "vision_encoder.layers.#"),
    ("image_encoder.neck.0", "vision_encoder.neck.conv1"),
    ("image_encoder.neck.1", "vision_encoder.neck.layer_norm1"),
    ("image_encoder.neck.2", "vision_encoder.neck.conv2"),
    ("image_encoder.neck.3", "vision_encoder.neck.layer_norm2"),
    ("image_encoder", "vision_encoder"),
]
_TINY_ENCODER = [("image_encoder", "vision_encoder")]
_POSITION = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def transformers_names(original: Mapping[str, Array]) -> dict[str, Array]:
    """The same weights under the names of `transformers.SamModel`."""
    rules = _rules(is_tiny=is_tiny_vit(original))
    renamed = {_rename(name, rules): array for name, array in original.items()}
    if _POSITION in renamed:
        position = renamed.pop(_POSITION)
        renamed |= dict.fromkeys(POSITION_TWICE, position)
    return renamed


def original_names(weights: Mapping[str, Array]) -> dict[str, Array]:
    """The same weights under segment-anything's names, the inverse of `transformers_names`."""
    rules = [(theirs, ours) for ours, theirs in _rules(is_tiny=is_tiny_vit(weights))]
    kept = {name: array for name, array in weights.items() if name != POSITION_TWICE[1]}
    renamed = {_rename(name, rules): array for name, array in kept.items()}
    if POSITION_TWICE[0] in renamed:
        renamed[_POSITION] = renamed.pop(POSITION_TWICE[0])
    return renamed


def without_wrappers(weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights without what training code puts before their names.

    micro-sam trains a module that holds the SAM as `sam`; torch's DataParallel and compile hold
    what they wrap as `module` and `_orig_mod`.

    >>> without_wrappers({"module.sam.image_encoder.pos_embed": 1})
    {'image_encoder.pos_embed': 1}

    Raises
    ------
    ModelError
        They are micro-sam's, and not those of a whole SAM.
    """
    plain = {_WRAPPERS.sub("", name): array for name, array in weights.items()}
    _refuse_parts_of_micro_sam(plain)
    return plain


_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.|sam\.)+")


def _refuse_parts_of_micro_sam(weights: Mapping[str, Array]) -> None:
    if any(".qkv.qkv_proj." in name for name in weights):
        raise ModelError(
            "it holds LoRA matrices beside the weights they change; fine-tune without "
            "peft_kwargs, or give a checkpoint in which they are merged"
        )
    if "out_conv.weight" in weights and not is_original(weights):
        raise ModelError(
            "it is micro-sam's network for automatic segmentation alone, without SAM's prompt "
            "encoder and mask decoder; export it in micro-sam with "
            "micro_sam.training.export_instance_segmentation_model"
        )


def is_tiny_vit(names: Mapping[str, Array]) -> bool:
    """Whether the image encoder among these weights is TinyViT."""
    return any(".patch_embed.seq." in name for name in names)


def is_original(names: Mapping[str, Array]) -> bool:
    """Whether these names are segment-anything's."""
    return any(name.startswith("image_encoder.") for name in names)


def without_classifier(weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights without TinyViT's classifier, which MobileSAM's checkpoint carries unused."""
    return {name: array for name, array in weights.items() if not name.startswith(_CLASSIFIER)}


def with_classifier(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with a classifier of zeros, which MobileSAM's code asks for and never uses."""
    channels = weights["image_encoder.neck.0.weight"].shape[1]
    return {
        **weights,
        "image_encoder.norm_head.weight": torch.ones(channels),
        "image_encoder.norm_head.bias": torch.zeros(channels),
        "image_encoder.head.weight": torch.zeros(_NUM_CLASSES, channels),
        "image_encoder.head.bias": torch.zeros(_NUM_CLASSES),
    }


_NUM_CLASSES = 1000
_CLASSIFIER = ("image_encoder.head.", "image_encoder.norm_head.")


def _rules(*, is_tiny: bool) -> list[tuple[str, str]]:
    return _PROMPT_ENCODER + _MASK_DECODER + (_TINY_ENCODER if is_tiny else _VIT_ENCODER)


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for source, target in rules:
        pattern = "^" + re.escape(source).replace(r"\#", r"(\d+)") + r"(?=\.|$)"
        match = re.match(pattern, name)
        if match:
            for number in match.groups():
                target = target.replace("#", number, 1)
            return target + name[match.end() :]
    return name


def fold_batch_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MobileSAM's `X.c` convolutions and `X.bn` norms as one convolution `X` with a bias."""
    folded: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.endswith(".c.weight") and f"{name.removesuffix('.c.weight')}.bn.weight" in weights:
            place = name.removesuffix(".c.weight")
            folded[f"{place}.weight"], folded[f"{place}.bias"] = _fold(weights, place)
        elif ".bn." not in name and not name.endswith("attention_bias_idxs"):
            folded[name] = tensor
    return folded


def _fold(weights: Mapping[str, Tensor], place: str) -> tuple[Tensor, Tensor]:
    norm = {kind: weights[f"{place}.bn.{kind}"].double() for kind in _NORM_KINDS}
    gain = norm["weight"] / torch.sqrt(norm["running_var"] + BATCH_NORM_EPS)
    kernel = weights[f"{place}.c.weight"]
    bias = norm["bias"] - norm["running_mean"] * gain
    return (kernel.double() * gain[:, None, None, None]).to(kernel.dtype), bias.to(kernel.dtype)


_NORM_KINDS = ("weight", "bias", "running_mean", "running_var")
BATCH_NORM_EPS = 1e-5


def unfold_batch_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `fold_batch_norm` for a TinyViT encoder: each norm only adds the bias."""
    convolutions = [
        name.removesuffix(".weight")
        for name, tensor in weights.items()
        if name.startswith("image_encoder.") and tensor.ndim == 4 and ".neck." not in name
    ]
    unfolded = dict(weights)
    for place in convolutions:
        kernel, bias = unfolded.pop(f"{place}.weight"), unfolded.pop(f"{place}.bias")
        unfolded[f"{place}.c.weight"] = kernel
        unfolded[f"{place}.bn.weight"] = torch.ones_like(bias)
        unfolded[f"{place}.bn.bias"] = bias
        unfolded[f"{place}.bn.running_mean"] = torch.zeros_like(bias)
        unfolded[f"{place}.bn.running_var"] = torch.full_like(bias, 1 - BATCH_NORM_EPS)
        unfolded[f"{place}.bn.num_batches_tracked"] = torch.tensor(0)
    return unfolded


def require_all_weights(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str
) -> None:
    """Raise ModelError unless both hold the same names and shapes."""
    missing, unknown = (
        sorted(expected.keys() - found.keys()),
        sorted(found.keys() - expected.keys()),
    )
    if missing or unknown:
        first = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        raise ModelError(
            f"{where} is not a checkpoint of this architecture: {len(missing)} weights missing, "
            f"{len(unknown)} unknown ({first})"
        )
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise ModelError(
                f"{where}: {name} must have shape {tuple(tensor.shape)}, "
                f"got {tuple(found[name].shape)}"
            )
