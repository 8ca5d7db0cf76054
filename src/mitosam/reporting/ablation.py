"""A study's page and its figures, written to a folder."""

from __future__ import annotations

from pathlib import Path

from mitosam.reporting import ablation_words as words
from mitosam.reporting.ablation_content import Ablation, Prompt
from mitosam.reporting.pages import render_page
from mitosam.storage import write_text

PAGE = "ablation.html"


def write_ablation(folder: Path, content: Ablation) -> Path:
    """Write ablation.html and a figure for each prompt, and return the page's path.

    The page needs no other file and no network; the figures are its own, as SVG files.
    """
    # Imported here: Matplotlib comes with it, and the command line must answer without.
    from mitosam.reporting.ablation_figure import standalone_svg

    figures = draw_figures(content)
    for prompt, svg in figures.items():
        write_text(folder / figure_name(prompt), standalone_svg(svg))
    page = folder / PAGE
    write_text(page, render_ablation(content, figures))
    return page


def draw_figures(content: Ablation) -> dict[Prompt, str]:
    """The figure of each prompt."""
    from mitosam.reporting.ablation_figure import levels_svg

    return {
        prompt: levels_svg(content, prompt, f"levels-{number}")
        for number, prompt in enumerate(content.prompts)
    }


def figure_name(prompt: Prompt) -> str:
    """The figure's file.

    >>> figure_name(Prompt(kind="object-box", clicks=7))
    'ablation-object-box-7-clicks.svg'
    """
    kind = prompt.kind.replace(" ", "-")
    return (
        f"ablation-{kind}-{prompt.clicks}-clicks.svg" if prompt.clicks else f"ablation-{kind}.svg"
    )


def render_ablation(content: Ablation, figures: dict[Prompt, str]) -> str:
    """The page as one HTML text."""
    from markupsafe import Markup

    return render_page(
        "ablation.html.j2",
        content=content,
        headline=words.headline(content),
        lead=words.lead(content),
        reaches=words.reaches(content),
        main=words.main_prompt(content),
        chance=words.chance_words(len(content.levels)),
        figures={prompt: Markup(svg) for prompt, svg in figures.items()},
        titles={prompt: words.prompt_title(prompt) for prompt in content.prompts},
        metrics={prompt: words.metrics_of(prompt) for prompt in content.prompts},
        metric_titles=words.METRIC_TITLES,
        outcome_of=words.outcome_of,
        change=words.interval_words,
        settings=words.settings_rows(content.levels),
        with_seeds=len(content.seeds) > 1,
        oracle=any(not prompt.kind.startswith("automatic") for prompt in content.prompts),
    )
