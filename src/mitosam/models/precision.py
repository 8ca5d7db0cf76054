"""Which number format the arithmetic runs in."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from mitosam.errors import SettingsError
from mitosam.models.promptable import Precision

logger = logging.getLogger(__name__)

RequestedPrecision = Literal["auto", "fp32", "bf16", "fp16"]


def choose_precision(requested: RequestedPrecision, device: torch.device) -> Precision:
    """`requested`, or for "auto" bf16 where the device computes in it and fp32 elsewhere.

    fp16 is never chosen: its range is small, and on a CPU it is thousands of times slower.

    Raises
    ------
    SettingsError
        fp16 is asked for on a CPU.
    """
    if requested == "fp16" and device.type == "cpu":
        raise SettingsError("model.precision=fp16 needs a GPU; take auto, bf16 or fp32 on a CPU")
    if requested != "auto":
        return requested
    chosen: Precision = "bf16" if has_bf16(device) else "fp32"
    logger.info("precision %s, chosen for this %s", chosen, device.type)
    return chosen


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False
