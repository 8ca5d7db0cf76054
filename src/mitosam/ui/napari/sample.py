"""Sample data: the phantom, so that everything can be tried without an EM volume."""

from __future__ import annotations

from mitosam.data.phantom import make_phantom
from mitosam.ui.napari.layers import LayerData, placed

SHAPE_ZYX = (32, 256, 256)
SEED = 0


def phantom_layers() -> list[LayerData]:
    """The phantom's images and the ids of the mitochondria in them; takes a few seconds."""
    phantom = make_phantom(SHAPE_ZYX, SEED, (10.0, 10.0, 10.0))
    place = placed(phantom.voxel_size_nm)
    return [
        (phantom.images, {"name": "phantom", **place}, "image"),
        (phantom.labels, {"name": "phantom mitochondria", **place}, "labels"),
    ]
