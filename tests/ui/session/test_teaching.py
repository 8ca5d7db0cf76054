"""What a lesson takes from the model it begins with, and what from the session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.data.intensity import Normalisation
from mitosam.errors import InputError
from mitosam.io.open import open_volume
from mitosam.ui.session.assistant import Origin
from mitosam.ui.session.teaching import write_lesson
from mitosam.workflows.teach import teaching_settings

IMAGES = np.random.default_rng(0).integers(0, 255, (5, 20, 30), np.uint8)


def lesson(folder, labels, sections, *, trained=None):
    origin = Origin(base_name="vit_t", weights=None, trained=trained, normalisation=Normalisation())
    session = resolve_settings(overrides=["teaching.steps=7"])
    return write_lesson(
        IMAGES.__getitem__, labels.__getitem__, sections, folder, session, origin, None
    )


@pytest.fixture
def labels():
    labels = np.zeros(IMAGES.shape, np.uint32)
    labels[1, 5:9, 5:9] = 4
    labels[2, 5:9, 5:9] = 4
    return labels


def test_tiles_are_those_of_the_tuned_model_and_its_split_is_left_behind(tmp_path, labels):
    trained = resolve_settings(
        overrides=[
            *("data.tile_px=256", "model.input_px=512"),
            *("split.kind=given", 'split.train="1-10"'),
            *('split.validation="11-12"', 'split.test="15-20"'),
        ]
    )
    written = lesson(tmp_path, labels, [1, 2], trained=trained)
    settings = teaching_settings(written.settings, written.num_sections)
    assert settings.data.tile_px == 256
    assert settings.model.input_px == 512
    assert settings.teaching.steps == 7
    assert (settings.split.train, settings.split.validation) == ("1-2", "")


def test_the_section_that_may_only_validate_holds_an_object(tmp_path, labels):
    written = lesson(tmp_path, labels, [1, 2, 3, 4])
    stack = np.stack(list(open_volume(Path(written.labels)).sections()))
    assert stack[-1].any()
    assert not stack[:2].any()
    images = np.stack(list(open_volume(Path(written.images)).sections()))
    np.testing.assert_array_equal(images, IMAGES[[3, 4, 1, 2]])


@pytest.mark.parametrize("sections", [[], [0, 3]])
def test_nothing_to_learn_from_is_refused(tmp_path, labels, sections):
    with pytest.raises(InputError, match=r"no section is finished|hold no object"):
        lesson(tmp_path, labels, sections)
