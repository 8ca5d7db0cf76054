"""Names and shapes of segment-anything 1.0's `sam_model_registry["vit_b"]().state_dict()`.

Written down from its code: image_encoder.py, prompt_encoder.py, mask_decoder.py, transformer.py.
"""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]
WIDTH, EMBEDDING, GLOBAL_BLOCKS = 768, 256, (2, 5, 8, 11)


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def encoder() -> Shapes:
    shapes: Shapes = {
        "pos_embed": (1, 64, 64, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, 16, 16),
        "patch_embed.proj.bias": (WIDTH,),
        "neck.0.weight": (EMBEDDING, WIDTH, 1, 1),
        **norm("neck.1", EMBEDDING),
        "neck.2.weight": (EMBEDDING, EMBEDDING, 3, 3),
        **norm("neck.3", EMBEDDING),
    }
    for i in range(12):
        rows = 2 * (64 if i in GLOBAL_BLOCKS else 14) - 1
        shapes |= {
            **norm(f"blocks.{i}.norm1", WIDTH),
            f"blocks.{i}.attn.rel_pos_h": (rows, 64),
            f"blocks.{i}.attn.rel_pos_w": (rows, 64),
            **linear(f"blocks.{i}.attn.qkv", 3 * WIDTH, WIDTH),
            **linear(f"blocks.{i}.attn.proj", WIDTH, WIDTH),
            **norm(f"blocks.{i}.norm2", WIDTH),
            **linear(f"blocks.{i}.mlp.lin1", 4 * WIDTH, WIDTH),
            **linear(f"blocks.{i}.mlp.lin2", WIDTH, 4 * WIDTH),
        }
    return {f"image_encoder.{name}": shape for name, shape in shapes.items()}


def prompt_encoder() -> Shapes:
    shapes: Shapes = {
        "pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        **{f"point_embeddings.{i}.weight": (1, EMBEDDING) for i in range(4)},
        "not_a_point_embed.weight": (1, EMBEDDING),
        "no_mask_embed.weight": (1, EMBEDDING),
        "mask_downscaling.0.weight": (4, 1, 2, 2),
        "mask_downscaling.0.bias": (4,),
        **norm("mask_downscaling.1", 4),
        "mask_downscaling.3.weight": (16, 4, 2, 2),
        "mask_downscaling.3.bias": (16,),
        **norm("mask_downscaling.4", 16),
        "mask_downscaling.6.weight": (EMBEDDING, 16, 1, 1),
        "mask_downscaling.6.bias": (EMBEDDING,),
    }
    return {f"prompt_encoder.{name}": shape for name, shape in shapes.items()}


def attention(name: str, inner: int) -> Shapes:
    shapes: Shapes = {}
    for part in ("q_proj", "k_proj", "v_proj"):
        shapes |= linear(f"transformer.{name}.{part}", inner, EMBEDDING)
    return shapes | linear(f"transformer.{name}.out_proj", EMBEDDING, inner)


def mask_decoder() -> Shapes:
    shapes: Shapes = {
        "iou_token.weight": (1, EMBEDDING),
        "mask_tokens.weight": (4, EMBEDDING),
        "output_upscaling.0.weight": (EMBEDDING, 64, 2, 2),
        "output_upscaling.0.bias": (64,),
        **norm("output_upscaling.1", 64),
        "output_upscaling.3.weight": (64, 32, 2, 2),
        "output_upscaling.3.bias": (32,),
        **attention("final_attn_token_to_image", 128),
        **norm("transformer.norm_final_attn", EMBEDDING),
    }
    for i in range(2):
        shapes |= attention(f"layers.{i}.self_attn", EMBEDDING)
        shapes |= attention(f"layers.{i}.cross_attn_token_to_image", 128)
        shapes |= attention(f"layers.{i}.cross_attn_image_to_token", 128)
        shapes |= linear(f"transformer.layers.{i}.mlp.lin1", 2048, EMBEDDING)
        shapes |= linear(f"transformer.layers.{i}.mlp.lin2", EMBEDDING, 2048)
        for j in range(1, 5):
            shapes |= norm(f"transformer.layers.{i}.norm{j}", EMBEDDING)
    heads = {f"output_hypernetworks_mlps.{i}": 32 for i in range(4)} | {"iou_prediction_head": 4}
    for name, out in heads.items():
        for j, width in enumerate((EMBEDDING, EMBEDDING, out)):
            shapes |= linear(f"{name}.layers.{j}", width, EMBEDDING)
    return {f"mask_decoder.{name}": shape for name, shape in shapes.items()}


def vit_b() -> Shapes:
    """All 314 of them."""
    return encoder() | prompt_encoder() | mask_decoder()
