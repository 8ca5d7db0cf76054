from __future__ import annotations

import pytest

from mitosam.errors import InputError, InputNotFoundError
from mitosam.models.load import load_model
from mitosam.workflows.info import info


def test_this_machine_is_described():
    facts = info()
    assert {"mitosam", "python", "memory", "device", "precision", "embedding cache"} <= set(facts)


def test_a_run_says_its_data_split_model_and_results(finished):
    facts = info(finished.run.folder)
    assert facts["volume images"].startswith("(4, 192, 192) sections, rows, columns; train on")
    assert facts["tuned weights"] == str(finished.run.tuned_weights)
    assert facts["report"] == str(finished.report)
    assert facts["base_model_hash"]


def test_a_model_says_its_shape_and_weights(finished, base_model):
    facts = info(base_model)
    assert (facts["architecture"], facts["input"]) == ("vit_t", "128 px")
    assert facts["weights"] == load_model(base_model).weights_hash
    tuned = info(finished.run.tuned_weights)
    assert tuned["tuned from"] == str(base_model)
    assert tuned["trained parts"] == "mask_decoder, prompt_encoder, encoder"
    assert tuned["tile"] == "96 px"
    assert "kind=identity" in tuned["normalisation"]


def test_a_volume_says_its_size(sources):
    assert info(sources.images) == {
        "sections": "4",
        "rows x columns": "192 x 192 px",
        "values": "uint8",
        "voxel size (z, y, x)": "10 x 10 x 10 nm",
        "first section": "page 1",
    }


def test_what_is_not_there_or_no_image_is_an_error(tmp_path):
    with pytest.raises(InputNotFoundError, match="does not exist"):
        info(tmp_path / "none.tif")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is not an image"):
        info(tmp_path / "notes.txt")
