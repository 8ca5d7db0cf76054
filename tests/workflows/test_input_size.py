"""A model at another input than it was trained at gives one mask on every path."""

from __future__ import annotations

import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.errors import ModelError
from mitosam.io.open import open_volume
from mitosam.io.prompt_files import write_prompts
from mitosam.models.settings import ModelSettings
from mitosam.models.tuned import read_tuned_info
from mitosam.prompts import Prompts
from mitosam.ui.session.opening import open_session
from mitosam.workflows.export import export
from mitosam.workflows.finetune import finetune
from mitosam.workflows.predict import predict
from mitosam.workflows.segment import segment
from mitosam.workflows.tuned_model import load_predictor, load_tuned_model
from tests.models.tiny_models import make_transformers_sam
from tests.tiny_runs import short_settings, write_phantom
from tests.tiny_segmenter import write_tuned

INPUT_PX = 96
BOX = (30.0, 20.0, 75.0, 60.0)
SMALL = ("data.tile_px=64", f"model.input_px={INPUT_PX}")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A SAM that was trained at 128 px."""
    folder = tmp_path_factory.mktemp("base") / "sam"
    make_transformers_sam().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("em"), shape_zyx=(2, 90, 110)).images


@pytest.fixture(scope="module")
def run(tmp_path_factory, base, sources):
    out = tmp_path_factory.mktemp("small") / "run"
    return finetune(sources, out, short_settings(base, *SMALL)).run


def test_a_run_remembers_its_input_and_everything_that_uses_it_does(run, tmp_path):
    assert read_tuned_info(run.tuned_weights).input_px == INPUT_PX
    sam = load_tuned_model(run.folder).sam
    assert sam.input_px == INPUT_PX
    assert load_predictor(run.folder).model.input_px == INPUT_PX
    exported = export(run.folder, tmp_path / "exported")
    assert load_tuned_model(exported).sam.input_px == INPUT_PX


def test_another_input_than_that_of_its_training_is_refused(run):
    with pytest.raises(ModelError, match=r"trained at model\.input_px = 96, got 128"):
        load_tuned_model(run.folder, ModelSettings(input_px=128))


def test_a_base_model_takes_the_input_it_is_told(base):
    assert load_tuned_model(base, ModelSettings(input_px=64)).sam.input_px == 64
    assert load_tuned_model(base).sam.input_px == 128


def test_python_command_line_and_session_give_one_mask(run, images, tmp_path):
    predictor = load_predictor(run.folder, resolve_settings())
    predictor.set_image(open_volume(images).section(1))
    expected = predictor.predict(box=np.array(BOX), multimask_output=False).masks[0]
    write_prompts(tmp_path / "prompts.csv", {1: Prompts(boxes_xyxy=np.array([BOX]))})
    prompts = tmp_path / "prompts.csv"
    written = predict(images, tmp_path / "out", model=run.folder, prompts=prompts).labels
    np.testing.assert_array_equal(open_volume(written).section(1) == 1, expected)
    session = open_session(images, model=run.folder, out=tmp_path / "work")
    try:
        view = session.view(1)
        view.set_box(*BOX)
        object_id = view.accept()
        np.testing.assert_array_equal(session.labels(1) == object_id, expected)
    finally:
        session.close()


def test_segmenting_encodes_at_the_models_input(base, images, tmp_path):
    """With the embedding in use, another input gives other labels."""
    found = []
    for name, input_px in (("small", INPUT_PX), ("trained", 128)):
        tuned = write_tuned(
            tmp_path / f"{name}.safetensors", base, trained_with=(f"model.input_px={input_px}",)
        )
        result = segment(images, tmp_path / name, model=tuned, method="head")
        found.append(np.stack(list(open_volume(result.labels).sections())) > 0)
    assert found[0].any()
    assert not np.array_equal(*found)
