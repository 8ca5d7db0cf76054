"""The plan of `make results` and its pages; the experiments themselves take hours."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from make_results import CURVE_SECTIONS, POOL, real_data, require_files
from mitosam.data.splits import parse_sections
from mitosam.errors import InputNotFoundError
from results_experiments import Data, Tune, experiments, spread
from results_pages import write_pages
from results_records import read_records

DOCS = Path(__file__).parents[1] / "docs" / "results"
PAGES = ("README.md", "epfl.md", "sbem.md", "transfer.md", "learning-curve.md", "automatic.md")


@pytest.fixture
def plan(tmp_path):
    data = Data(folder=tmp_path, images="i", masks="m", train="1-4", validation="5", test="9-12")
    return experiments(data, data, CURVE_SECTIONS, POOL)


def test_every_experiment_has_its_own_folder_and_follows_what_it_builds_on(plan):
    names = [experiment.name for experiment in plan]
    assert len(set(names)) == len(names)
    for number, experiment in enumerate(plan):
        if not isinstance(experiment, Tune):
            assert experiment.source in names[:number]


@pytest.mark.parametrize("count", [*CURVE_SECTIONS, POOL])
def test_annotated_sections_are_as_many_as_said_and_evenly_spread(count):
    sections = parse_sections(spread(count, POOL), POOL)
    assert len(sections) == count
    gaps = {b - a for a, b in pairwise(sections)}
    assert gaps <= {POOL // count}


def test_absent_data_is_said(tmp_path):
    with pytest.raises(InputNotFoundError, match=r"training\.tif does not exist"):
        require_files(*real_data(tmp_path))


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory):
    """The pages, written anew from the records alone."""
    folder = tmp_path_factory.mktemp("results")
    plan = experiments(*real_data(Path("nowhere")), CURVE_SECTIONS, POOL)
    write_pages(folder, read_records(DOCS, [one.name for one in plan]), plan)
    return folder


@pytest.mark.parametrize("name", [*PAGES, "summary.csv"])
def test_the_published_pages_are_what_the_records_say(rewritten, name):
    expected = (DOCS / name).read_text(encoding="utf-8")
    assert (rewritten / name).read_text(encoding="utf-8") == expected
