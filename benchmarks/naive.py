"""The popular recipe: the frozen encoder runs at every step, in fp32, through transformers as is.

Its loss, prompts and patches are ours, so that both do the same work. What transformers has no
class for, vit_t's encoder, is ours too, and faster than the published one.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import SamConfig, SamModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.sam.configuration_sam import SamVisionConfig

from benchmarks.fresh import reply
from benchmarks.patches import example_without_embedding, first_patches, paper_settings
from mitosam.models.load import load_model
from mitosam.models.pixels import prepare_tile
from mitosam.training.examples import PromptSampler
from mitosam.training.losses import mask_loss

BATCH = 2
INPUT_PX, LOW_RES_PX = 1024, 256


def measure(*, folder: str, encoder: str, warmup: int, steps: int) -> dict[str, Any]:
    """Seconds of each step after the first few."""
    model = _vit_b(folder) if encoder == "vit_b" else _vit_t()
    trained = model.mask_decoder.requires_grad_(True).parameters()
    optimizer = torch.optim.Adam(trained, lr=1e-5)
    batches = _Batches(folder, BATCH * (warmup + steps))
    seconds = []
    for _ in range(warmup + steps):
        started = time.perf_counter()
        pixels, boxes, targets = batches.draw()
        predicted = model(pixel_values=pixels, input_boxes=boxes, multimask_output=False)
        loss = mask_loss(predicted.pred_masks[:, 0, 0], targets).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return {"step_s": seconds[warmup:]}


class _Batches:
    def __init__(self, folder: str, count: int) -> None:
        settings = paper_settings()
        self._tiles = first_patches(folder, count, settings)
        self._examples = [example_without_embedding(tile, settings) for tile in self._tiles]
        self._sampler = PromptSampler(settings.training, input_px=INPUT_PX, low_res_px=LOW_RES_PX)
        self._rng = np.random.default_rng(0)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels, boxes and targets of one step."""
        chosen = self._rng.choice(len(self._tiles), BATCH, replace=False)
        tiles = [self._tiles[i] for i in chosen]
        pixels = [prepare_tile(tile.pixels(), tile.frame(INPUT_PX)) for tile in tiles]
        groups = [self._sampler.draw(self._examples[i], self._rng)[0] for i in chosen]
        boxes = [group.prompts.boxes for group in groups if group.prompts.boxes is not None]
        return torch.cat(pixels), torch.cat(boxes), torch.cat([group.targets for group in groups])


def _vit_b(folder: str) -> SamModel:
    model = SamModel.from_pretrained(f"{folder}/vit_b", dtype=torch.float32)
    return model.requires_grad_(False)


def _vit_t() -> SamModel:
    ours = load_model("vit_t")
    # The ViT is not used; it is made as small as it can be.
    vision = SamVisionConfig(num_hidden_layers=1, global_attn_indexes=())
    model = SamModel(SamConfig(vision_config=vision))
    for part in ("mask_decoder", "prompt_encoder", "shared_image_embedding"):
        getattr(model, part).load_state_dict(getattr(ours, part).state_dict())
    model.vision_encoder = _AsTransformersDoes(ours.vision_encoder)
    return model.requires_grad_(False).eval()


class _AsTransformersDoes(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: Tensor, **_: object) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.encoder(pixel_values))


if __name__ == "__main__":
    reply(measure)
