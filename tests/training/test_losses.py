from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mitosam.training.losses import mask_iou, mask_loss, near_outline


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


def test_focal_loss_by_hand():
    # p = 1/2: cross entropy ln 2, of which a quarter (1 - p squared) counts.
    logits, targets = torch.zeros(2, 3, 3), torch.ones(2, 3, 3)
    assert mask_loss(logits, targets, loss="focal").tolist() == pytest.approx([0.6931472 / 4] * 2)
    both = mask_loss(logits, targets, loss="dice_focal")
    dice = mask_loss(logits, targets, loss="dice")
    assert both.tolist() == pytest.approx((dice + 20 * 0.6931472 / 4).tolist())


@pytest.mark.parametrize("loss", ["dice_bce", "dice", "bce", "focal", "dice_focal"])
def test_each_mask_has_its_own_loss_and_a_better_answer_a_smaller_one(loss):
    targets = torch.zeros(2, 12, 12)
    targets[:, 3:8, 3:8] = 1
    good, bad = 6 * (2 * targets[0] - 1), torch.zeros(12, 12)
    together = mask_loss(torch.stack([good, bad]), targets, loss=loss)
    alone = [mask_loss(one[None], targets[:1], loss=loss).item() for one in (good, bad)]
    assert together.tolist() == pytest.approx(alone, rel=1e-5)
    assert together[0] < together[1]


def test_near_outlines_are_the_pixels_beside_them():
    targets = torch.zeros(1, 6, 6)
    targets[0, :, 3:] = 1
    expected = torch.zeros(6, 6)
    expected[:, 2:4] = 1
    assert torch.equal(near_outline(targets)[0], expected)
    assert not near_outline(torch.ones(1, 6, 6)).any()


def test_a_mistake_at_the_outline_weighs_more_with_boundary_weight():
    targets = torch.zeros(1, 16, 16)
    targets[0, :, 8:] = 1
    beside, far = 5 * (2 * targets - 1), 5 * (2 * targets - 1)
    beside[0, 0, 8], far[0, 0, 15] = -5, -5
    plain = [mask_loss(one, targets, loss="bce").item() for one in (beside, far)]
    weighted = [
        mask_loss(one, targets, loss="bce", boundary_weight=4).item() for one in (beside, far)
    ]
    assert plain[0] == pytest.approx(plain[1])
    assert weighted[0] > plain[0] > weighted[1]


def test_the_iou_of_masks_by_hand():
    logits = torch.tensor([[[1.0, 1.0, -1.0]], [[-1.0, -1.0, -1.0]], [[-1.0, -1.0, -1.0]]])
    targets = torch.tensor([[[1.0, 0.0, 0.6]], [[0.0, 0.4, 0.0]], [[1.0, 0.0, 0.0]]])
    assert mask_iou(logits, targets).tolist() == pytest.approx([1 / 3, 1, 0])
