"""What all tests of a whole segmentation share."""

from __future__ import annotations

from itertools import islice

import pytest

from mitosam.reporting import turntable
from tests.segmentations import run
from tests.tiny_runs import write_phantom
from tests.tiny_segmenter import write_tuned


@pytest.fixture(scope="package", autouse=True)
def few_frames():
    """A full turn takes most of the time of a volume as small as these."""
    draw_turn = turntable.draw_turn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turntable, "draw_turn", lambda *given: islice(draw_turn(*given), 1))
        yield


@pytest.fixture(scope="package")
def images(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("em"), shape_zyx=(5, 64, 80)).images


@pytest.fixture(scope="package")
def model(tmp_path_factory, base_model):
    return write_tuned(tmp_path_factory.mktemp("tuned") / "model.safetensors", base_model)


@pytest.fixture(scope="package")
def expected(tmp_path_factory, images, model, base_model):
    """A segmentation that nothing stopped; tests read it and write elsewhere."""
    out = tmp_path_factory.mktemp("segmented") / "out"
    return run(images, out, model, base_model, tiff=True, probability=True)
