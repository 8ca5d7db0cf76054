from __future__ import annotations

import pytest

from mitosam.errors import OutputExistsError
from mitosam.workflows.demo import MARK, demo, demo_settings
from tests.tiny_runs import KillAt, contents


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(OutputExistsError, match="no demo made it"):
        demo(tmp_path)
    assert contents(tmp_path) == {"thesis.txt": b"years"}


def test_an_earlier_demo_makes_room_for_the_next(tmp_path):
    (tmp_path / MARK).write_text("")
    (tmp_path / "old").write_text("")
    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path, progress=KillAt("drawing a made-up EM volume"))
    assert set(contents(tmp_path)) == {MARK}


def test_the_demo_runs_the_default_preset_on_the_embedded_model():
    settings = demo_settings()
    assert settings.model.name == "vit_t"
    assert settings.training.augment is True
