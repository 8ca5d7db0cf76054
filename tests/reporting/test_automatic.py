from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.evaluation.iou_calibration import calibrate_iou
from mitosam.reporting.automatic import (
    VOLUME_COLUMNS,
    headline,
    render_automatic,
    score_cells,
    write_automatic_page,
)
from mitosam.reporting.automatic_content import SectionPoint, choose_examples
from mitosam.reporting.automatic_figures import sections_svg
from mitosam.reporting.words import MISSING
from tests.reporting.pages import assert_needs_nothing_else
from tests.reporting.synthetic import make_automatic, make_method

CONTENTS = {
    "full": make_automatic(),
    "all methods": make_automatic(
        methods=[make_method(name) for name in ("head", "prompted", "grid", "U-Net")]
    ),
    "numbers alone": make_automatic(
        methods=[make_method(sections=(), asd_nm=math.nan)],
        **{"pictures": (), "thresholds": (), "messages": (), "provenance": ()},
    ),
    "two places": make_automatic(
        methods=[
            make_method(name, loss, place=place)
            for name, loss in (("head", 0.1), ("U-Net", 0.2))
            for place in ("liver, section 7", "liver, sections 9 to 12")
        ]
    ),
    "nothing": make_automatic(methods=(), pictures=()),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_page_needs_nothing_else(name):
    assert_needs_nothing_else(render_automatic(CONTENTS[name]))


def test_no_number_comes_before_the_word_that_no_prompts_were_used():
    html = render_automatic(CONTENTS["full"])
    assert html.index("No prompts were used.") < html.index("<table")
    assert "never comparable with scores under prompts" in html


def test_where_the_thresholds_come_from_is_said():
    html = render_automatic(CONTENTS["full"])
    assert "were chosen on validation sections 105 to 108, not on the sections scored" in html
    assert "foreground 0.45." in html


def test_the_headline_names_the_best_method():
    assert headline(CONTENTS["full"]) == "Instance head finds them best: F1 0.65 in 3D"
    assert headline(CONTENTS["numbers alone"]) == "Instance head: F1 0.65 in 3D"
    assert headline(CONTENTS["nothing"]) == "Nothing was scored"


def test_several_places_have_tables_of_their_own_and_none_is_the_headline():
    html = render_automatic(CONTENTS["two places"])
    assert headline(CONTENTS["two places"]) == "Scored in 2 places, each by itself"
    assert html.count("<table") == render_automatic(CONTENTS["full"]).count("<table") + 2
    assert html.index("liver, section 7") < html.index("liver, sections 9 to 12")
    assert html.count('class="best"') > 2


def test_thresholds_that_nothing_chose_are_called_defaults():
    html = render_automatic(make_automatic(thresholds_from=""))
    assert "are the defaults: no validation sections chose them: foreground 0.45." in html


def test_the_best_of_a_column_is_the_greatest_score_or_the_smallest_error():
    rows = [
        make_method("head", num_predicted=10, relative_volume_error=-0.2, hd95_nm=90.0),
        make_method("U-Net", 0.2, num_predicted=13, relative_volume_error=0.3, hd95_nm=40.0),
    ]
    titles = [column.title for column in VOLUME_COLUMNS]
    best = [
        {title for title, cell in zip(titles, line, strict=True) if cell.is_best}
        for line in score_cells(rows, VOLUME_COLUMNS)
    ]
    assert best[0] == {*titles[:7], "ASD, nm", "volume"}
    assert best[1] == {"ASD, nm", "HD95, nm", "count"}


def test_missing_scores_are_dashes_and_never_the_best():
    cells = score_cells([make_method(hd95_nm=math.nan)], VOLUME_COLUMNS)[0]
    assert cells[8].text == MISSING
    assert not any(cell.is_best for cell in cells)


@given(st.lists(st.sampled_from([0.1, 0.5, 0.9]), max_size=8))
def test_examples_are_the_extremes_and_the_middle_each_once(scores):
    points = [SectionPoint(section=z, f1=f1, iou=0.5) for z, f1 in enumerate(scores)]
    examples = choose_examples(points)
    found = {example.why: example.point.f1 for example in examples}
    assert len({example.point.section for example in examples}) == len(examples)
    assert len(examples) == min(3, len(scores))
    if scores:
        assert found["best"] == max(scores)
    if len(scores) > 1:
        assert found["worst"] == min(scores)


def test_the_figure_is_well_formed_and_in_the_pages_ink():
    svg = sections_svg(CONTENTS["all methods"].methods)
    assert ET.fromstring(svg).tag == "svg"
    assert "#00000" not in svg
    assert all(f"var(--{name})" in svg for name in ("tuned", "prompted", "grid", "rival"))


def test_the_page_is_written_whole(tmp_path):
    page = write_automatic_page(tmp_path / "automatic.html", CONTENTS["full"])
    assert page.read_text(encoding="utf-8") == render_automatic(CONTENTS["full"])


def test_a_method_that_was_sure_of_its_finds_has_a_row_for_what_that_was_worth():
    found = calibrate_iou(np.array([0.9, 0.6]), np.array([0.8, 0.0]), [0, 0], seed=0)
    methods = [make_method("head", confidence=found), make_method("U-Net", 0.2)]
    html = render_automatic(make_automatic(methods=methods))
    assert_needs_nothing_else(html)
    table = html[html.index("Are the surer finds the better ones?") :]
    assert "<td>2</td><td>0.75</td><td>0.40</td><td>1.00</td>" in table
    assert "surer finds" not in render_automatic(make_automatic())
