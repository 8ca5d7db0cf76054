"""Folders of small random-weight detectors of the real classes, each with a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Sam3Config,
    SwinConfig,
)
from transformers.models.sam3.modeling_sam3 import Sam3Model

WORDS = ("mitochondria", "nucleus", "lipid", "droplet", "a")
# Where BERT's own vocabulary has them: Grounding DINO parts phrases by these numbers.
BERT_PLACES = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?"}
BERT_WORDS = 1040


def write_grounding_dino(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=BERT_WORDS + 40, hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=24,
        ),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=24, decoder_ffn_dim=24, num_queries=40,
        max_text_len=64, disable_custom_kernels=True,
    )  # fmt: skip
    model = GroundingDinoForObjectDetection(config)
    _spread(model)
    model.save_pretrained(folder)
    vocabulary = [f"[unused{index}]" for index in range(BERT_WORDS)]
    for place, token in BERT_PLACES.items():
        vocabulary[place] = token
    vocabulary += [*WORDS, *(f"##{letter}" for letter in "abcdefghijklmno")]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    _write_image_settings(folder, size={"shortest_edge": 128, "longest_edge": 192})
    return folder


def write_owl(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    text = {
        **{"vocab_size": 300, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "max_position_embeddings": 16},
        **{"bos_token_id": 298, "eos_token_id": 299},
    }
    vision = {
        **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "image_size": 64, "patch_size": 8},
    }
    config = Owlv2Config(
        text_config=text, vision_config=vision, projection_dim=16, initializer_factor=0.1
    )
    model = Owlv2ForObjectDetection(config)
    model.save_pretrained(folder)
    write_clip_tokenizer(folder)
    _write_image_settings(folder, size={"height": 64, "width": 64})
    return folder


def sam3_config() -> Sam3Config:
    layers = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 24}
    text = CLIPTextConfig(
        vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32, projection_dim=16,
        bos_token_id=298, eos_token_id=299,
    )  # fmt: skip
    return Sam3Config(
        vision_config={
            "backbone_config": {
                **{"model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32},
                **{"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56},
                **{"patch_size": 14, "window_size": 2, "global_attn_indexes": [1]},
                **{"pretrain_image_size": 28},
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config=text,
        geometry_encoder_config={**layers, "num_layers": 1},
        detr_encoder_config={**layers, "num_layers": 1},
        detr_decoder_config={**layers, "num_layers": 1, "num_queries": 12},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )


def write_sam3(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = Sam3Model(sam3_config())
    _spread(model)
    model.save_pretrained(folder)
    write_clip_tokenizer(folder)
    image_processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": image_processor}))
    return folder


WRITERS = {"grounding-dino": write_grounding_dino, "owlv2": write_owl, "sam3": write_sam3}


def write_clip_tokenizer(folder: Path) -> None:
    """Letters, each alone and at a word's end, and a few words; start and end as in CLIP."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["!", *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    vocabulary |= {"<|startoftext|>": 298, "<|endoftext|>": 299}
    CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="!").save_pretrained(folder)


def _write_image_settings(folder: Path, **settings: object) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def _spread(model: torch.nn.Module) -> None:
    """Larger random weights, so that boxes and scores differ from query to query."""
    for name, parameter in model.named_parameters():
        if "reference_points" in name:
            parameter.data.normal_()
        elif parameter.ndim > 1:
            parameter.data.mul_(3)
