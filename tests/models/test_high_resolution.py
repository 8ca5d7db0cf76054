from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from mitosam.models.high_resolution import pack, unpack
from tests.models.tiny_models import HIDDEN, make_tiny_vit_sam


@given(
    size=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 4)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
)
def test_packing_and_unpacking_is_the_identity(size, channels):
    batch, height, width = size
    levels = [
        torch.randn(batch, count, times * height, times * width)
        for count, times in zip(channels, (1, 2, 4), strict=True)
    ]
    packed = pack(*levels)
    assert packed.shape[2:] == (height, width)
    back = unpack(packed, *channels[1:])
    assert all(torch.equal(a, b) for a, b in zip(back, levels, strict=True))


def test_a_packed_cell_holds_the_fine_pixels_that_lie_in_it():
    fine = torch.arange(64.0).view(1, 1, 8, 8)
    packed = pack(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 4, 4), fine)
    assert packed[0, -16:, 1, 0].tolist() == fine[0, 0, 4:, :4].flatten().tolist()


def test_sam_itself_has_nothing_packed():
    model = make_tiny_vit_sam(input_px=128)
    assert model.packed_channels == 0
    assert model.embedding_shape == (HIDDEN, 8, 8)
