"""A study's page, figures and sentences, from levels made up by hand."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from mitosam.evaluation.levels import Estimate
from mitosam.reporting.ablation import (
    draw_figures,
    figure_name,
    render_ablation,
    write_ablation,
)
from mitosam.reporting.ablation_content import Ablation, Block, Level, LevelScore, Prompt
from mitosam.reporting.ablation_figure import standalone_svg
from mitosam.reporting.ablation_words import headline, lead, outcome_of, prompt_title, reaches
from tests.reporting.pages import assert_needs_nothing_else

BOX, CLICKED, PATCH = (
    Prompt(kind="object-box"),
    Prompt(kind="object-box", clicks=7),
    Prompt(kind="patch-box"),
)
PROMPTS = (PATCH, BOX, CLICKED)


def estimate(mean, reach=0.02, resampled="sections and seeds"):
    return Estimate(mean=mean, low=mean - reach, high=mean + reach, resampled=resampled)


def level(label, gain=None, *, factor="rate", reach=0.02, like=True, is_base=False, base=0.7):
    scores = [
        LevelScore(
            prompt=prompt,
            metric=metric,
            mean=estimate(base + (gain or 0.0), 0.05),
            difference=None if gain is None else estimate(gain, reach),
            num_seeds=2,
            num_sections=6,
            count=40,
            is_like_the_base=like,
        )
        for prompt in PROMPTS
        for metric in (("dice", "iou") if prompt is PATCH else ("dice", "iou", "msa"))
    ]
    return Level(
        factor=factor,
        label=label,
        scores=scores,
        num_seeds=2,
        seconds_trained=90.0,
        peak_memory_bytes=1.5e9,
        values={"training.learning_rate": label},
        is_base=is_base,
    )


@pytest.fixture
def content():
    base = level("base", factor="base", is_base=True)
    rate = [level("1e-5", -0.1), replace(base, factor="rate", label="2e-4"), level("1e-3", 0.005)]
    scale = [level("256 <px>", 0.04, factor="tiles", like=False)]
    return Ablation(
        title="What matters",
        base=base,
        untuned=level("not tuned", -0.5, factor="base"),
        blocks=[Block(name="rate", levels=rate), Block(name="tiles", levels=scale)],
        prompts=PROMPTS,
        seeds=(0, 1),
        num_finished=7,
        num_cells=8,
        notes=["Only 7 of 8 runs are finished."],
        split="volume: train on sections 1-6.",
        provenance=[("command", "mitosam ablate <own>")],
    )


def test_the_page_needs_no_other_file_and_shows_every_prompt(content):
    page = assert_needs_nothing_else(render_ablation(content, draw_figures(content)))
    assert page.tags.count("svg") == len(PROMPTS)
    assert page.tags.count("input") == len(PROMPTS)


def test_the_page_shows_levels_differences_costs_and_warnings(content):
    html = render_ablation(content, draw_figures(content))
    assert html.count(" checked") == 1
    for text in (
        "256 &lt;px&gt; †",
        "+0.040*",
        "\N{MINUS SIGN}0.120 to \N{MINUS SIGN}0.080",
        "Only 7 of 8 runs are finished.",
        "One box per mitochondrion, then 7 clicks",
        "the seeds 0, 1",
        "mitosam ablate &lt;own&gt;",
        "training.learning_rate = 1e-5",
        "<td>1.5</td><td>1.5</td>",
        "With 3 levels beside the base",
    ):
        assert text in html, text


def test_one_seed_is_said_to_be_one(content):
    alone = replace(content, seeds=(0,))
    html = render_ablation(alone, draw_figures(alone))
    assert "There is one seed, so they speak of sections only." in html
    assert "and the same seeds" not in html


def test_sentences_say_what_is_clear(content):
    assert headline(content) == "Tiles: 256 <px> gained most, +0.040 IoU"
    assert "Of 3 levels beside it, 1 did clearly better and 1 clearly worse." in lead(content)
    assert "on 6 sections" in lead(content)
    none = replace(content, blocks=content.blocks[:1])
    assert headline(none) == "No level was clearly better than the base"


def test_factors_are_ordered_by_how_far_their_levels_lie_apart(content):
    first, second = reaches(content)
    assert (first.name, first.lowest, first.highest, first.num_clear) == ("rate", "1e-5", "1e-3", 1)
    assert first.width == pytest.approx(0.105)
    assert (second.name, second.lowest, second.highest) == ("tiles", "base", "256 <px>")


def test_an_outcome_is_clear_where_its_interval_leaves_out_zero(content):
    def outcome(one):
        return outcome_of(one, one.score(BOX, "iou"))

    assert [outcome(one) for one in content.blocks[0].levels] == ["worse", "base", "unclear"]
    assert outcome(content.blocks[1].levels[0]) == "better"
    assert outcome(level("none", 0.5, reach=math.nan)) == "unclear"


def test_a_level_that_was_not_run_is_left_out_of_figures_and_empty_in_tables(content):
    missing = replace(content.blocks[1].levels[0], scores=(), num_seeds=0, seconds_trained=None)
    part = replace(content, blocks=[content.blocks[0], Block(name="tiles", levels=[missing])])
    figures = draw_figures(part)
    assert "256" not in figures[BOX]
    assert_needs_nothing_else(render_ablation(part, figures))


def test_without_intervals_only_means_are_drawn(content):
    bare = replace(content, blocks=[Block(name="rate", levels=[level("few", 0.1, reach=math.nan)])])
    assert "few" in draw_figures(bare)[BOX]
    assert_needs_nothing_else(render_ablation(bare, draw_figures(bare)))


def test_each_figure_is_also_a_file_that_opens_alone(content, tmp_path):
    page = write_ablation(tmp_path, content)
    assert {path.name for path in tmp_path.iterdir()} == {
        page.name,
        "ablation-patch-box.svg",
        "ablation-object-box.svg",
        "ablation-object-box-7-clicks.svg",
    }
    text = (tmp_path / figure_name(BOX)).read_text()
    assert ET.fromstring(text).tag.endswith("svg")
    assert "var(" not in text
    assert "learning rate" not in text
    assert "1e-3" in text


def test_a_standalone_figure_is_the_pages_own(content):
    svg = draw_figures(content)[BOX]
    assert standalone_svg(svg).count("<path") == svg.count("<path")


def test_a_method_without_prompts_has_a_title():
    assert "head" in prompt_title(Prompt(kind="automatic head"))
