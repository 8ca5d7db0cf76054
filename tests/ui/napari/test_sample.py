from __future__ import annotations

import numpy as np

from mitosam.ui.napari import sample


def test_the_phantom_comes_with_ids_and_a_scale(monkeypatch):
    monkeypatch.setattr(sample, "SHAPE_ZYX", (4, 96, 96))
    (images, look, kind), (labels, mitochondria, labels_kind) = sample.phantom_layers()
    assert (kind, labels_kind) == ("image", "labels")
    assert images.shape == labels.shape == (4, 96, 96)
    assert np.issubdtype(labels.dtype, np.integer)
    assert labels.max() >= 1
    assert look["scale"] == mitochondria["scale"] == (10, 10, 10)
    assert look["units"] == mitochondria["units"] == ("nm", "nm", "nm")
