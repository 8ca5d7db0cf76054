from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ET

import pytest

from mitosam.reporting.distributions import distributions_svg
from tests.reporting.synthetic import make_instances

ROWS = {
    "full": make_instances(),
    "one": make_instances(1),
    "two alike": make_instances(1) * 2,
    "not measured": make_instances(measured=False),
    "all at the border": [dataclasses.replace(row, at_border=True) for row in make_instances()],
    "undefined values": [dataclasses.replace(make_instances(2)[1], volume=0.0, length=math.nan)],
}


@pytest.mark.parametrize("name", ROWS)
def test_figures_are_well_formed_and_need_nothing_from_outside(name):
    svg = distributions_svg(ROWS[name], calibrated=True)
    assert ET.fromstring(svg).tag == "svg"
    assert "http" not in svg
    assert "#00000" not in svg


def test_units_follow_the_voxel_size():
    assert "µm³" in distributions_svg(ROWS["full"], calibrated=True)
    pixels = distributions_svg(ROWS["full"], calibrated=False)
    assert "µm" not in pixels
    assert "voxels" in pixels


def test_the_median_marked_leaves_out_those_at_the_border():
    rows = [
        dataclasses.replace(row, length=length, at_border=length > 5)
        for row, length in zip(make_instances(4), (1.0, 2.0, 3.0, 90.0), strict=True)
    ]
    assert "median 2.00 µm" in distributions_svg(rows, calibrated=True)
    assert "median" not in distributions_svg(ROWS["all at the border"], calibrated=True)


def test_what_was_not_measured_has_no_panel():
    assert "Sphericity" not in distributions_svg(ROWS["not measured"], calibrated=True)
    assert "Sphericity" in distributions_svg(ROWS["full"], calibrated=True)
