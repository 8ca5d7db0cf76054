import numpy as np

from mitosam.inference.instances import InstanceSettings, label_maps


def test_an_area_smaller_than_the_smallest_volume_is_found_in_one_section():
    foreground = np.zeros((40, 40), np.uint8)
    foreground[10:25, 10:25] = 255
    maps = np.stack([foreground, np.zeros_like(foreground)])
    settings = InstanceSettings(
        min_volume_voxels=5000, min_whole_voxels=9000, min_sections=2, z_radius=2, min_area_px=50
    )
    assert not label_maps([maps], settings).any()
    assert label_maps([maps], settings.for_one_section()).max() == 1
