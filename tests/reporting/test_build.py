from __future__ import annotations

import dataclasses
import subprocess
import sys
from functools import cache

import pytest

from mitosam.evaluation.cases import choose_cases
from mitosam.reporting.build import render, write_report
from mitosam.reporting.tables import read_scores
from tests.evaluation.synthetic import make_score
from tests.reporting.pages import Page, assert_needs_nothing_else
from tests.reporting.synthetic import make_automatic, make_case, make_report, make_scores

REPORTS = {
    "full": make_report(),
    "several protocols": make_report(make_scores(protocols=["patch-box", "object-box"])),
    "one patch": make_report(make_scores(1)),
    "no training": make_report(curve=()),
    "no losers": make_report(cases=[c for c in make_report().cases if c.why != "lost"]),
    "only a base model": make_report([make_score(50, section=i) for i in range(6)]),
    "automatic": make_report(automatic=make_automatic()),
    "patches without mitochondria": make_report(
        [make_score(0, method=m, num_objects=0) for m in ("base", "tuned")]
    ),
    "nothing at all": make_report(
        [], curve=(), counts=(), split="", notes=(), provenance=(), cases=()
    ),
}


@cache
def rendered(name: str) -> str:
    return render(REPORTS[name])


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_is_one_page_that_needs_nothing_else(name):
    assert_needs_nothing_else(rendered(name))


def test_the_page_opens_with_the_result_and_the_warnings():
    html = rendered("full")
    assert html.index("<h1>Tuning helped</h1>") < html.index("leaky") < html.index("<section")


def test_hostile_names_are_shown_as_text():
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    scores = [dataclasses.replace(score, volume=hostile) for score in make_scores()]
    html = render(
        make_report(
            scores,
            title=hostile,
            split=hostile,
            notes=[hostile],
            counts=[(hostile, 1)],
            provenance=[(hostile, hostile)],
        )
    )
    assert Page(html).scripts == 0
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;alert(1)") > 10


def test_losses_are_shown_and_their_absence_is_said():
    scores = make_scores(gain_percent=0)
    lost = [case for case in choose_cases(scores) if case.why == "lost"]
    html = render(make_report(scores, cases=[make_case(c.base, c.tuned, c.why) for c in lost]))
    assert html.count('id="image-lost-') == len(lost) > 0
    assert "Nowhere: it scored at least as well" in rendered("full")


def test_the_case_image_is_embedded_once_for_its_four_panels():
    report = REPORTS["full"]
    html = rendered("full")
    assert html.count("data:image/png") == len(report.cases)
    assert html.count('<use href="#image-') == 3 * len(report.cases)


def test_what_was_not_done_is_left_out():
    html = rendered("no training")
    assert 'id="training"' not in html
    assert 'id="training"' in rendered("full")


def test_scores_without_prompts_stand_in_a_section_that_sets_them_apart():
    html = rendered("automatic")
    section = html[html.index('id="automatic"') :]
    assert "never comparable with scores under prompts" in section[: section.index("<table")]
    assert 'id="automatic"' not in rendered("full")


def test_few_sections_are_owned_up_to():
    assert "fewer than five sections" in rendered("one patch")


def test_the_same_report_gives_the_same_page():
    assert render(REPORTS["full"]) == rendered("full")


def test_the_folder_holds_the_page_and_its_numbers(tmp_path):
    report = REPORTS["full"]
    page = write_report(tmp_path / "run", report)
    assert page.read_text(encoding="utf-8") == rendered("full")
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "report.html",
        "scores.csv",
        "scores.json",
        "summary.csv",
    ]
    assert [s.subject for s in read_scores(page.parent / "scores.json")] == [
        s.subject for s in report.scores
    ]


def test_importing_the_report_brings_neither_matplotlib_nor_torch():
    code = (
        "import sys, mitosam.reporting.build; "
        "heavy = {'matplotlib', 'torch', 'skimage', 'scipy', 'jinja2'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
