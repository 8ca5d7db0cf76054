from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mitosam.training.losses import mask_loss


def by_formula(logits, targets):
    """1 - 2 |PT| / (|P^2| + |T^2|) and the cross entropy, each averaged over masks."""
    p = torch.sigmoid(logits.double())
    t = targets.double()
    overlap = (p * t).sum((1, 2))
    size = (p**2).sum((1, 2)) + (t**2).sum((1, 2))
    # MONAI adds 1e-5 above and below, so that two empty masks cost nothing.
    dice = 1 - (2 * overlap + 1e-5) / (size + 1e-5)
    return dice.mean() + F.binary_cross_entropy_with_logits(logits.double(), t)


def random_case(seed, soft):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, 9, 9, generator=generator)
    targets = torch.rand(4, 9, 9, generator=generator)
    return logits, targets if soft else (targets > 0.7).float()


@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_is_its_formula(soft):
    logits, targets = random_case(0, soft)
    found = mask_loss(logits, targets).mean()
    assert found.shape == ()
    assert float(found) == pytest.approx(float(by_formula(logits, targets)), rel=1e-5)


def test_the_loss_is_monais():
    from monai.losses.dice import DiceCELoss

    logits, targets = random_case(1, False)
    theirs = DiceCELoss(sigmoid=True, squared_pred=True)(logits[:, None], targets[:, None])
    assert float(mask_loss(logits, targets).mean()) == pytest.approx(float(theirs), rel=1e-6)


def test_the_loss_by_hand():
    # p = 1/2 everywhere on two pixels, one of them true: Dice 1 - 2 * 0.5 / (0.5 + 1), BCE ln 2.
    loss = mask_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
    assert float(loss) == pytest.approx(1 / 3 + 0.6931472, abs=1e-5)


def test_a_certain_and_right_answer_costs_nothing_and_a_wrong_one_much():
    targets = torch.zeros(1, 8, 8)
    targets[0, 2:5, 2:5] = 1
    right = 40 * (2 * targets - 1)
    assert mask_loss(right, targets).item() == pytest.approx(0, abs=1e-5)
    assert mask_loss(-right, targets).item() > 10


def test_empty_masks_answered_by_empty_masks_cost_nothing():
    assert float(mask_loss(torch.full((1, 4, 4), -40.0), torch.zeros(1, 4, 4))) < 1e-4
