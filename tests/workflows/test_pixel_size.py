from __future__ import annotations

import pytest

from mitosam.models.tuned import TunedInfo
from mitosam.workflows.tuned_model import UsableModel, pixel_size_remark


def usable(settings_toml: str | None) -> UsableModel:
    info = None if settings_toml is None else TunedInfo.model_construct(settings_toml=settings_toml)
    return UsableModel(sam=None, tile_px=512, normalisation=None, info=info)


@pytest.mark.parametrize(
    ("settings", "voxel_size_nm", "told"),
    [
        (
            "[data]\ncommon_pixel_nm = 8.0",
            (30.0, 5.0, 5.0),
            "pixels of 8 nm, and these are of 5 x 5",
        ),
        ("[data]\ncommon_pixel_nm = 8.0", None, "of unknown size"),
        ("[data]\ncommon_pixel_nm = 8.0", (30.0, 8.2, 7.9), ""),
        ("[data]\ntile_px = 512", (30.0, 5.0, 5.0), ""),
        (None, (30.0, 5.0, 5.0), ""),
    ],
)
def test_a_model_of_scaled_sections_says_when_it_is_given_others(settings, voxel_size_nm, told):
    remark = pixel_size_remark(usable(settings), voxel_size_nm)
    assert told in remark
    assert bool(told) == bool(remark)
