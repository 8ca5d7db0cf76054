"""The same prompt gives the same mask from Python, the command line, the page and the plugin.

Page and plugin both show a `View`; what they send and draw is tested with them.
"""

from __future__ import annotations

import numpy as np
import pytest

from mitosam.io.open import open_volume
from mitosam.io.prompt_files import write_prompts
from mitosam.prompts import Prompts
from mitosam.ui.session.opening import open_session
from mitosam.workflows.predict import predict
from mitosam.workflows.tuned_model import load_predictor
from tests.tiny_runs import write_phantom

Z = 1
BOX = (30.0, 20.0, 75.0, 60.0)
POINTS = ((50.0, 40.0, True), (100.0, 90.0, False), (55.5, 45.0, True))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    # Larger than the tiny model's tile of 96 px.
    return write_phantom(tmp_path_factory.mktemp("em"), shape_zyx=(2, 130, 150)).images


@pytest.mark.parametrize(
    ("with_box", "num_points"), [(True, 0), (False, 1), (False, 3), (True, 1), (True, 3)]
)
def test_one_prompt_has_one_mask(tmp_path, images, tuned, with_box, num_points):
    points = POINTS[:num_points]
    asked = {}
    if points:
        asked["point_coords"] = np.array([(x, y) for x, y, _ in points])
        asked["point_labels"] = np.array([int(positive) for *_, positive in points])
    if with_box:
        asked["box"] = np.array(BOX)

    predictor = load_predictor(str(tuned))
    predictor.set_image(open_volume(images).section(Z))
    from_python = predictor.predict(**asked, multimask_output=False).masks[0]
    assert from_python.any()

    prompts = Prompts(
        boxes_xyxy=np.array([BOX]) if with_box else None,
        points_xy=asked["point_coords"][None] if points else None,
        point_labels=asked["point_labels"][None] if points else None,
    )
    write_prompts(tmp_path / "prompts.csv", {Z: prompts})
    written = predict(
        images, tmp_path / "out", model=tuned, prompts=tmp_path / "prompts.csv"
    ).labels
    np.testing.assert_array_equal(open_volume(written).section(Z) == 1, from_python)

    session = open_session(images, model=tuned, out=tmp_path / "work")
    try:
        view = session.view(Z)
        if with_box:
            view.set_box(*BOX)
        for x, y, positive in points:
            view.add_point(x, y, positive=positive)
        object_id = view.accept()
        np.testing.assert_array_equal(session.labels(Z) == object_id, from_python)
    finally:
        session.close()
