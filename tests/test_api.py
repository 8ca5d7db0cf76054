"""The names that the package offers."""

from __future__ import annotations

import importlib

import pytest

import mitosam


@pytest.mark.parametrize("name", mitosam.__all__)
def test_every_name_that_is_offered_is_there(name):
    assert getattr(mitosam, name) is not None
    assert name in dir(mitosam)


@pytest.mark.parametrize(
    "command",
    [
        *("finetune", "demo", "plan", "prepare", "train", "evaluate", "report", "predict"),
        *("export", "measure"),
    ],
)
def test_each_command_has_a_function_of_its_name(command):
    workflow = importlib.import_module(f"mitosam.workflows.{command}")
    assert getattr(mitosam, command) is getattr(workflow, command)


def test_a_name_that_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'segment_all'"):
        _ = mitosam.segment_all
