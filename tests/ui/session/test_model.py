from __future__ import annotations

import threading

import numpy as np

from mitosam.data.intensity import Normalisation
from mitosam.geometry import ModelFrame
from mitosam.io.volume import volume_of_array
from mitosam.ui.session.model import SessionModel
from tests.tiny_runs import short_settings
from tests.tiny_segmenter import write_tuned


def test_a_model_with_a_head_finds_mitochondria_and_a_base_model_does_not(base_model, tuned):
    settings = short_settings(base_model)
    assert SessionModel.load(tuned, settings).has_head
    assert not SessionModel.load(base_model, settings).has_head


def test_models_tuned_from_one_base_share_their_embeddings(tmp_path, base_model, tuned):
    settings = short_settings(base_model)
    first = SessionModel.load(tuned, settings)
    other = write_tuned(tmp_path / "other.safetensors", base_model, seed=1)
    assert first.shares_embeddings_with(SessionModel.load(other, settings))
    # Untuned, it takes larger tiles.
    assert not first.shares_embeddings_with(SessionModel.load(base_model, settings))


def test_sections_are_normalised_as_in_training_or_as_the_volume_needs_it(
    tmp_path, base_model, tuned
):
    trained = Normalisation(kind="percentile", low=3, high=999, dtype="uint16")
    wide = write_tuned(tmp_path / "wide.safetensors", base_model, normalisation=trained)
    volume = volume_of_array("em", np.arange(1000, dtype=np.uint16).reshape(1, 20, 50))
    settings = short_settings(base_model)
    assert SessionModel.load(wide, settings).normalisation_for(volume) == trained
    measured = SessionModel.load(base_model, settings).normalisation_for(volume)
    assert (measured.kind, measured.dtype) == ("percentile", "uint16")
    assert measured != trained


def test_its_automatic_methods_wait_for_their_turn_at_the_encoder(base_model, tuned):
    model = SessionModel.load(tuned, short_settings(base_model))
    pixels, frame = np.zeros((96, 96), np.uint8), ModelFrame((0, 0), 96, 128)
    encoding = threading.Thread(target=model.segmenter.encode, args=(pixels, frame))
    with model.turns.turn(urgent=True):
        encoding.start()
        encoding.join(0.05)
        assert encoding.is_alive()
    encoding.join(60)
    assert not encoding.is_alive()
