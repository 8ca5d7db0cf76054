from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import uniform_filter1d

from mitosam.reporting.figures import draw_figures, running_mean
from tests.reporting.synthetic import make_curve, make_report, make_scores

REPORTS = {
    "full": make_report(),
    "three protocols": make_report(
        make_scores(protocols=["patch-box", "object-box", "object-point"])
    ),
    "one patch": make_report(make_scores(1)),
    "one step": make_report(curve=make_curve(1)),
    "many steps": make_report(curve=make_curve(3000)),
    "more dots than are drawn": make_report(make_scores(1600), cases=()),
    "nothing": make_report([], curve=()),
}


@pytest.mark.parametrize("name", REPORTS)
def test_figures_are_well_formed_and_need_nothing_from_outside(name):
    for svg in draw_figures(REPORTS[name]).values():
        assert ET.fromstring(svg).tag == "svg"
        assert "http" not in svg
        assert "<style" not in svg
        assert "#00000" not in svg  # every stand-in became a colour of the page


def test_there_is_a_figure_for_everything_there_are_numbers_for():
    assert set(draw_figures(REPORTS["full"])) == {
        "methods",
        "by_count",
        "pairs-patch-box",
        "training",
    }
    assert draw_figures(REPORTS["nothing"]) == {}


def test_the_same_report_gives_the_same_figures():
    assert draw_figures(REPORTS["full"]) == draw_figures(REPORTS["full"])


def test_ids_of_different_figures_never_meet():
    ids = [
        element.get("id")
        for svg in draw_figures(REPORTS["three protocols"]).values()
        for element in ET.fromstring(svg).iter()
        if element.get("id")
    ]
    assert len(set(ids)) == len(ids)


@given(arrays(np.float64, 30, elements=st.floats(-10, 10)), st.integers(1, 12))
def test_scipy_finds_the_same_running_mean_once_it_is_full(values, window):
    expected = uniform_filter1d(values, window, origin=(window - 1) // 2)
    np.testing.assert_allclose(
        running_mean(values, window)[window - 1 :], expected[window - 1 :], atol=1e-9
    )
