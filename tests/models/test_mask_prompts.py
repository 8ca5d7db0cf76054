from __future__ import annotations

import torch

from mitosam.models.mask_prompts import decode_each
from mitosam.models.promptable import ModelPrompts
from tests.training.tiny_examples import embedding_shape
from tests.training.tiny_trainings import make_model


def test_prompts_with_masks_of_their_own_are_answered_as_if_each_came_alone():
    model = make_model()
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(1, *embedding_shape(), generator=generator)
    masks = torch.randn(1, 3, 16, 16, generator=generator)
    points = 60 * torch.rand(1, 3, 2, 2, generator=generator)
    labels = torch.tensor([[[1, 0], [1, 1], [0, 1]]])
    with torch.no_grad():
        together = decode_each(
            model, embedding, ModelPrompts(points=points, labels=labels, masks=masks), "all"
        )
        for i in range(3):
            own = slice(i, i + 1)
            alone = model.decode_outputs(
                embedding,
                ModelPrompts(points=points[:, own], labels=labels[:, own], masks=masks[:, own]),
                "all",
            )
            torch.testing.assert_close(together.low_res_logits[:, own], alone.low_res_logits)
            torch.testing.assert_close(together.iou_predictions[:, own], alone.iou_predictions)
