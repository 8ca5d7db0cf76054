"""How near one part of the model comes to the machine's matrix-multiply peak, and what stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.mkldnn import to_mkldnn
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from benchmarks.fresh import reply
from mitosam.models.load import load_model
from mitosam.models.promptable import ModelPrompts, Precision, Promptable
from mitosam.training.losses import mask_loss
from mitosam.workflows.models import keep_freed_memory

SIDE = 3072
NUM_LISTED = 7
ARITHMETIC = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
ARITHMETIC_WORDS = ("convolution", "conv_transpose", "conv2d", "mkldnn_linear", "dot_product")
Work = Callable[[], object]


def measure(
    *, folder: str, part: str, encoder: str, prompts: int, precision: Precision, repeats: int
) -> dict[str, Any]:
    """Times of the part and of plain matrix products in turn, and one profile of the part."""
    keep_freed_memory()
    sam = load_model(f"{folder}/vit_b" if encoder == "vit_b" else "vit_t")
    sam.precision = precision
    work = _work(sam, part, prompts)
    products = _products(precision)
    work()
    part_s: list[float] = []
    peaks: dict[str, list[float]] = {name: [] for name in products}
    for _ in range(repeats):
        for name, product in products.items():
            peaks[name].append(_seconds(product))
        part_s.append(_seconds(work))
    flop = _flop_of_vit_b() if (part, encoder) == ("encode", "vit_b") else _flop(work)
    return {
        "gflop": flop / 1e9,
        "seconds": part_s,
        "peak_gflop_s": {name: 2e-9 * SIDE**3 / min(times) for name, times in peaks.items()},
        **_profiled(work),
    }


def _work(sam: Promptable, part: str, prompts: int) -> Work:
    generator = torch.Generator().manual_seed(0)
    if part == "encode":
        images = torch.randn(1, 3, sam.input_px, sam.input_px, generator=generator)
        return lambda: sam.encode(images)
    embedding = torch.randn(1, *sam.embedding_shape, generator=generator)
    corners = torch.rand(1, prompts, 2, generator=generator) * sam.input_px / 2
    asked = ModelPrompts(boxes=torch.cat([corners, corners + sam.input_px / 4], dim=-1))
    if part == "decode":
        return torch.inference_mode()(lambda: sam.decode(embedding, asked))
    sam.mask_decoder.requires_grad_(True)
    targets = (torch.rand(prompts, sam.low_res_px, sam.low_res_px, generator=generator) > 0.5) * 1.0

    def train() -> None:
        sam.mask_decoder.zero_grad()
        logits = sam.decode(embedding, asked).low_res_logits[0, :, 0]
        torch.autograd.backward(mask_loss(logits, targets).mean())

    return train


def _products(precision: Precision) -> dict[str, Work]:
    """The ways this build of torch multiplies matrices; the fastest is the peak."""
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    if precision == "bf16":
        left, right = left.bfloat16(), right.bfloat16()
    products: dict[str, Work] = {"torch.matmul": lambda: left @ right}
    if precision == "fp32" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        linear = to_mkldnn(torch.nn.Linear(SIDE, SIDE).eval())  # type: ignore[no-untyped-call]
        blocked = left.to_mkldnn()
        products["oneDNN"] = torch.inference_mode()(lambda: linear(blocked))
    return products


def _seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _flop(work: Work) -> int:
    # The counter does not know the fused attention of CPUs, so that is taken apart for it.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def _flop_of_vit_b() -> int:
    """What transformers' encoder does: ours does more products, to write less."""
    config = SamVisionConfig()
    config._attn_implementation = "eager"
    with torch.device("meta"), torch.no_grad():
        encoder = SamVisionEncoder(config)
        images = torch.empty(1, 3, config.image_size, config.image_size)
        return _flop(lambda: encoder(images))


def _profiled(work: Work) -> dict[str, Any]:
    """The share of time in products and convolutions, and the most costly operators besides."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(times.values())
    others = {name: time / total for name, time in times.items() if not is_arithmetic(name)}
    listed = sorted(others, key=lambda name: -others[name])[:NUM_LISTED]
    return {
        "arithmetic_share": 1 - sum(others.values()),
        "other_shares": {name.removeprefix("aten::"): others[name] for name in listed},
    }


def is_arithmetic(operator: str) -> bool:
    """Whether an operator's work is what the FLOP count counts; fused attention's mostly is."""
    return operator in ARITHMETIC or any(word in operator for word in ARITHMETIC_WORDS)


if __name__ == "__main__":
    reply(measure)
