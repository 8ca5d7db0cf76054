from __future__ import annotations

import torch

from mitosam.models.load import load_model
from mitosam.models.shipped_head import SHIPPED_HEAD, load_shipped_head, save_shipped_head


def test_the_shipped_head_fits_the_embedded_model_and_is_small():
    head, sam = load_shipped_head(), load_model()
    assert head.shape.embedding_channels == sam.embedding_shape[0]
    assert head.shape.section_offsets == (0,)
    assert not head.training
    assert SHIPPED_HEAD.stat().st_size < 3e6


def test_what_is_saved_is_read_back_to_half_precision(tmp_path):
    head = load_shipped_head()
    save_shipped_head(tmp_path / "head.safetensors", head)
    again = load_shipped_head(tmp_path / "head.safetensors")
    assert again.shape == head.shape
    for name, tensor in head.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
