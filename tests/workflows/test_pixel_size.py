from __future__ import annotations

import pytest

from mitosam.models.tuned import TunedInfo, read_tuned_info
from mitosam.workflows.tuned_model import (
    UsableModel,
    common_pixel_nm,
    pixel_size_remark,
    trained_pixel_nm,
)
from tests.tiny_runs import VOXEL_SIZE_NM


def usable(settings_toml: str | None, pixel_nm: float | None = None) -> UsableModel:
    info = settings_toml is not None and TunedInfo.model_construct(
        settings_toml=settings_toml, pixel_nm=pixel_nm
    )
    return UsableModel(sam=None, tile_px=512, normalisation=None, info=info or None)


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


def test_the_pixel_size_that_training_noted_comes_before_the_one_it_asked_for():
    assert trained_pixel_nm(usable("[data]\ncommon_pixel_nm = 8.0", 8.02)) == 8.02
    assert trained_pixel_nm(usable("[data]\ntile_px = 512", 5.0)) == 5.0
    assert "pixels of 5 nm" in pixel_size_remark(usable("", 5.0), (30.0, 8.0, 8.0))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(30.0, 8.0, 8.0)], 8.0),
        ([(30.0, 8.0, 8.0), (5.0, 8.4, 8.4)], 8.2),
        ([(5.0, 5.0, 5.0), (30.0, 8.0, 8.0)], None),
        ([(5.0, 5.0, 8.0)], None),
        ([(5.0, 5.0, 5.0), None], None),
        ([None], None),
        ([(0.0001, 0.0001, 0.0001)], 0.0001),
    ],
)
def test_a_model_has_a_pixel_size_where_its_volumes_share_one(sizes, expected):
    found = common_pixel_nm(sizes)
    assert found == (expected and pytest.approx(expected))


def test_training_notes_the_pixel_size(finished):
    assert read_tuned_info(finished.run.tuned_weights).pixel_nm == VOXEL_SIZE_NM[1]
