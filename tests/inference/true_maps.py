"""Maps of foreground and boundary: as a perfect head would draw them, and at random."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from mitosam.inference.instance_settings import InstanceSettings
from mitosam.training.crops import boundary_of

KEEP_ALL = InstanceSettings(min_area_px=1, min_volume_voxels=1, min_confidence=0)


def maps_of(labels: np.ndarray, boundary_px: int = 1) -> np.ndarray:
    """Both maps of each section (z, 2, height, width) of true instances."""
    rims = [boundary_of(section, boundary_px) for section in labels]
    return 255 * np.stack([labels > 0, np.stack(rims)], axis=1).astype(np.uint8)


def random_maps(shape_zyx, seed, *, smoothness=1.0) -> np.ndarray:
    """Blobs with ragged boundaries that touch, end and begin anywhere."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(2, *shape_zyx)), (0, *[smoothness] * 3))
    ranks = fields.reshape(2, -1).argsort().argsort().reshape(2, *shape_zyx)
    return (ranks * 255 // max(ranks[0].size - 1, 1)).astype(np.uint8).swapaxes(0, 1)


SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=12)
MAPS = st.builds(
    random_maps, SHAPES, st.integers(0, 10**6), smoothness=st.sampled_from([0.0, 0.7, 1.5])
)
SETTINGS = st.builds(
    InstanceSettings,
    foreground_threshold=st.sampled_from([0.3, 0.5, 0.7]),
    boundary_threshold=st.sampled_from([0.4, 0.6, 1.0]),
    link_overlap=st.sampled_from([0.0, 0.3, 1.0]),
    z_radius=st.integers(0, 2),
    min_area_px=st.integers(1, 12),
    min_volume_voxels=st.integers(1, 20),
    min_confidence=st.just(0.0),
    min_sections=st.integers(1, 3),
)


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two label volumes differ in their numbers alone."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    ids = len(np.unique(one)), len(np.unique(other))
    return ids == (pairs.shape[1],) * 2 and np.array_equal(one > 0, other > 0)
