"""Time vit_t's encoder and decoder against the machine's own matrix-multiply peak.

    python benchmarks/model_speed.py --threads 2

CPU seconds are counted on one thread and wall-clock seconds on more, each the best of five, so
that other work on the machine disturbs little. Peak and share hold for the same threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from mitosam.models.load import load_model
from mitosam.models.sam import ModelPrompts, Precision, Sam
from mitosam.workflows.models import keep_freed_memory

REPEATS = 5
FORMATS: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}


def best_seconds(run: Callable[[], object]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    run()
    best = float("inf")
    for _ in range(REPEATS):
        start = clock()
        run()
        best = min(best, clock() - start)
    return best


def report(name: str, run: Callable[[], object], peak: float) -> None:
    with FlopCounterMode(display=False) as counter:
        run()
    seconds, flop = best_seconds(run), counter.get_total_flops() / 1e9
    rate = flop / seconds
    print(f"{name:44} {seconds:7.3f} s {flop:7.1f} GFLOP {rate:6.0f} GFLOP/s {rate / peak:5.0%}")


def matmul_peak(dtype: torch.dtype) -> float:
    square = torch.randn(2048, 2048).to(dtype)
    return 2 * 2048**3 / best_seconds(lambda: square @ square) / 1e9


def boxes(num_images: int, num_prompts: int) -> ModelPrompts:
    corners = 700 * torch.rand(num_images, num_prompts, 2)
    return ModelPrompts(boxes=torch.cat([corners, corners + 200], dim=-1))


def train_step(model: Sam, embeddings: torch.Tensor, prompts: ModelPrompts) -> None:
    torch.autograd.backward(model.decode(embeddings, prompts).low_res_logits.square().mean())


@torch.inference_mode()
def decode(model: Sam, embeddings: torch.Tensor, prompts: ModelPrompts) -> None:
    model.decode(embeddings, prompts)


def time_model(model: Sam, peak: float) -> None:
    images = torch.randn(2, 3, 1024, 1024)
    report("encoder, 1 image", lambda: model.encode(images[:1]), peak)
    report("encoder, 2 images", lambda: model.encode(images), peak)
    embeddings = 0.1 * torch.randn(8, 256, 64, 64)
    for count, each in ((1, 1), (1, 8), (8, 1)):
        prompts, given = boxes(count, each), embeddings[:count]
        name = f"decoder, {count} x {each} prompts"
        model.mask_decoder.requires_grad_(False)
        report(name, partial(decode, model, given, prompts), peak)
        model.mask_decoder.requires_grad_(True)
        report(
            f"{name}, forward and backward",
            partial(train_step, model, given, prompts),
            peak,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    keep_freed_memory()
    model = load_model()
    for precision, dtype in FORMATS.items():
        model.precision = precision
        peak = matmul_peak(dtype)
        print(f"{precision}, {torch.get_num_threads()} threads: peak {peak:.0f} GFLOP/s")
        time_model(model, peak)


if __name__ == "__main__":
    main()
