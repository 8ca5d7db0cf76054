"""The pages a user reads: their code runs, and what is written from the code is up to date.

Blocks fenced as `bash` and `python` run, page by page and from top to bottom, in a folder that
holds `images/` and `masks/`; blocks fenced as `console` or anything else are only shown.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from make_docs import cli_page, pages, settings_page

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def run_bash(example: Example) -> None:
    environment_bin = str(Path(sys.executable).parent)
    script = f'PATH="{environment_bin}:$PATH"\n{example.parsed}'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{example.parsed}\n{done.stdout}\n{done.stderr}"


EXAMPLES = Sybil([CodeBlockParser("bash", run_bash), PythonCodeBlockParser()])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    examples = list(EXAMPLES.parse(page).examples())
    if examples:
        write_annotated_sections(tmp_path)
    monkeypatch.chdir(tmp_path)
    for example in examples:
        example.evaluate()


def write_annotated_sections(folder: Path) -> None:
    """Make `images/` and `masks/` in `folder`: a few small PNG sections of the phantom."""
    import imageio.v3 as iio

    from mitosam.data.phantom import make_phantom

    phantom = make_phantom((6, 256, 256), seed=0)
    for name, stack in [("images", phantom.images), ("masks", (phantom.labels > 0) * 255)]:
        (folder / name).mkdir()
        for z, section in enumerate(stack):
            iio.imwrite(folder / name / f"section_{z:03}.png", section.astype("uint8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)", prose)
    local = [target for target in targets if not target.startswith(("http:", "https:", "mailto:"))]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to {missing}"


def test_generated_pages_are_up_to_date():
    stale = [path.name for path, text in pages().items() if path.read_text("utf-8") != text]
    assert not stale, f"{stale} differ from the code; run: make docs"


class SampleSection(BaseModel):
    """How it learns."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Step size, a | b."""
    kind: Literal["slow", "fast"] = "fast"
    voxel_size_nm: tuple[float, float] | None = None


class SampleSettings(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    seed: int
    """Where randomness starts."""
    learning: SampleSection = SampleSection()


def test_a_settings_page_names_each_setting_with_its_range_default_and_docstring():
    page = settings_page(SampleSettings)
    assert "| `seed` | whole number | must be given | Where randomness starts. |" in page
    assert "## `[learning]`\n\nHow it learns.\n" in page
    assert r"| `rate` | number, > 0, ≤ 1 | `0.5` | Step size, a \| b. |" in page
    assert '| `kind` | `"slow"`, `"fast"` | `"fast"` |' in page
    assert "| `voxel_size_nm` | [number, number] or unset | unset |" in page


def test_a_command_page_holds_each_command_with_its_help(tmp_path):
    app = tmp_path / "sample_app.py"
    app.write_text(
        "import typer\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def tune():\n"
        '    """Tune a model."""\n'
        "@app.command()\n"
        "def info():\n"
        '    """Tell about it."""\n'
    )
    page = cli_page(str(app), "sample")
    assert page.startswith("# `sample`\n")
    assert "## `sample tune`\n\nTune a model.\n" in page
