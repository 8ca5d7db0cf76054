from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest

from mitosam.errors import OutputExistsError, SettingsError
from mitosam.workflows.views import views


def test_a_sheet_shows_what_the_settings_change(finished, tmp_path):
    plain = iio.imread(views(finished.run, tmp_path / "plain.png"))
    again = iio.imread(views(finished.run, tmp_path / "again.png"))
    loud = iio.imread(
        views(
            finished.run,
            tmp_path / "loud.png",
            overrides=["augmentation.noise=60", "augmentation.artefact_share=1"],
        )
    )
    assert plain.shape[1] > plain.shape[0] > 300
    assert np.array_equal(plain, again)
    assert plain.shape == loud.shape
    assert not np.array_equal(plain, loud)


def test_what_stands_there_already_is_left_alone(finished, tmp_path):
    (tmp_path / "views.png").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already"):
        views(finished.run, tmp_path / "views.png")
    assert (tmp_path / "views.png").read_text() == "mine"


def test_another_kind_of_file_is_refused(finished, tmp_path):
    with pytest.raises(SettingsError, match=r"must end in \.png"):
        views(finished.run, tmp_path / "views.jpg")


def test_only_the_augmentation_can_be_tried(finished, tmp_path):
    with pytest.raises(SettingsError, match=r"only settings of \[augmentation\].* seed: 0 -> 4"):
        views(finished.run, tmp_path / "views.png", overrides=["seed=4"])
