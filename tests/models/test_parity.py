"""The embedded model against the ONNX files it was made from; see docs/parity.md."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from mitosam.models.load import load_model
from mitosam.models.promptable import Precision
from tests.models.parity_cases import CASES, EMBEDDING_STEPS, Case, make_input

REFERENCE = Path(__file__).parent / "data" / "vit_t_reference.npz"
ONNX_FOLDER = os.environ.get("MITOSAM_ONNX_DIR")
MIN_AGREEMENT = 0.9999


@dataclass(frozen=True)
class Outputs:
    """The embedding, and for each case its low-res logits and predicted IoU."""

    embedding: np.ndarray
    low_res_logits: np.ndarray
    iou_predictions: np.ndarray


def run_embedded(precision: Precision) -> Outputs:
    model = load_model()
    model.precision = precision
    embedding = model.encode(make_input())
    with torch.inference_mode():
        found = [best_mask(case, model, embedding) for case in CASES]
    return Outputs(
        embedding=embedding[0].numpy(),
        low_res_logits=np.stack([logits for logits, _ in found]),
        iou_predictions=np.array([iou for _, iou in found]),
    )


def best_mask(case: Case, model, embedding) -> tuple[np.ndarray, float]:
    """One mask, chosen as in segment-anything's ONNX graph."""
    decoded = model.decode(embedding, case.for_model(), multimask_output=case.is_ambiguous)
    best = int(decoded.iou_predictions[0, 0].argmax())
    return decoded.low_res_logits[0, 0, best].numpy(), float(decoded.iou_predictions[0, 0, best])


@pytest.fixture(scope="module")
def fp32() -> Outputs:
    return run_embedded("fp32")


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE, allow_pickle=False) as file:
        return dict(file)


def test_the_masks_agree_with_the_onnx_files(fp32: Outputs, reference):
    expected = np.unpackbits(reference["masks"], axis=-1).astype(bool)
    agreement = ((fp32.low_res_logits > 0) == expected).mean(axis=(1, 2))
    assert expected.any(axis=(1, 2)).all()
    assert agreement.min() >= MIN_AGREEMENT


def test_embedding_logits_and_predicted_iou_agree_with_the_onnx_files(fp32: Outputs, reference):
    np.testing.assert_allclose(fp32.embedding[EMBEDDING_STEPS], reference["embedding"], atol=2e-3)
    np.testing.assert_allclose(fp32.low_res_logits[:, ::16, ::16], reference["logits"], atol=0.1)
    np.testing.assert_allclose(fp32.iou_predictions, reference["iou_predictions"], atol=1e-3)


def test_bf16_keeps_the_masks(fp32: Outputs):
    bf16 = run_embedded("bf16")
    agreement = (bf16.low_res_logits > 0) == (fp32.low_res_logits > 0)
    assert agreement.mean(axis=(1, 2)).min() >= 0.9998


@pytest.mark.skipif(
    ONNX_FOLDER is None, reason="set MITOSAM_ONNX_DIR to the folder of encoder.onnx and sam.onnx"
)
def test_the_onnx_files_themselves_agree_everywhere(fp32: Outputs):
    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    from make_parity_reference import run_onnx

    found = Outputs(**run_onnx(Path(str(ONNX_FOLDER))))
    np.testing.assert_allclose(fp32.embedding, found.embedding, atol=2e-3)
    np.testing.assert_allclose(fp32.low_res_logits, found.low_res_logits, atol=0.1)
    agreement = (fp32.low_res_logits > 0) == (found.low_res_logits > 0)
    assert agreement.mean(axis=(1, 2)).min() >= MIN_AGREEMENT
