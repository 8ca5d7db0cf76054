"""What words mean: a model's own go to the automatic method, others to a detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.errors import InputError, ModelError
from mitosam.models.detectors import load_detector
from mitosam.workflows.automatic_model import segmenter_of
from mitosam.workflows.tuned_model import load_tuned_model
from mitosam.workflows.words import (
    AllInstances,
    DetectedObjects,
    DetectorPhrases,
    answer,
    understand,
)
from tests.models.tiny_detectors import write_owl, write_sam3
from tests.tiny_segmenter import write_tuned


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory, base_model):
    path = write_tuned(tmp_path_factory.mktemp("tuned") / "model.safetensors", base_model)
    return segmenter_of(load_tuned_model(path), path, resolve_settings())


@pytest.fixture(scope="module")
def headless(segmenter):
    return replace(segmenter, head=None)


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    return load_detector(write_owl(tmp_path_factory.mktemp("owl")))


@pytest.fixture(scope="module")
def section():
    return np.random.default_rng(0).integers(0, 255, (50, 80)).astype(np.uint8)


@pytest.mark.parametrize("text", ["mitochondries", "all mitochondria", "mitos, Mitochondrium"])
@pytest.mark.parametrize("with_detector", [False, True])
def test_own_words_mean_all_instances_whether_or_not_there_is_a_detector(
    segmenter, owl, section, text, with_detector
):
    detector = owl if with_detector else None
    said = answer(text, section, segmenter=segmenter, detector=detector)
    assert isinstance(said, AllInstances)
    assert (said.match.class_name, said.method) == ("mitochondria", "head")
    assert said.sentence == "all mitochondria, found by method head"


def test_a_word_taken_for_another_is_said(segmenter):
    said = understand("mitocondria", segmenter=segmenter)
    assert said.sentence.startswith("'mitocondria' was taken for 'mitochondria': all")


def test_other_words_go_to_the_detector_as_they_are(segmenter, owl, section):
    meaning = understand("nucleus, lipid droplet", segmenter=segmenter, detector=owl)
    assert isinstance(meaning, DetectorPhrases)
    assert meaning.phrases == ("nucleus", "lipid droplet")
    said = answer(
        "nucleus, lipid droplet", section, segmenter=segmenter, detector=owl, min_score=0.0
    )
    assert isinstance(said, DetectedObjects)
    expected = owl.detect(section, ("nucleus", "lipid droplet"), min_score=0.0)
    np.testing.assert_array_equal(said.detections.boxes_xyxy, expected.boxes_xyxy)
    np.testing.assert_array_equal(said.prompts.boxes_xyxy, expected.boxes_xyxy)
    said.prompts.check_inside(section.shape)
    count = expected.phrases.count("nucleus")
    assert f"found {count} of 'nucleus', " in said.sentence


def test_a_detector_is_told_the_english_word_and_that_is_said(owl):
    meaning = understand("Mitochondrien, mitochondries", detector=owl)
    assert meaning.phrases == ("mitochondria",)
    assert meaning.sentence.endswith("for 'mitochondria'")


def test_own_words_among_others_all_go_to_the_detector(segmenter, owl):
    meaning = understand("mitos, nucleus", segmenter=segmenter, detector=owl)
    assert meaning.phrases == ("mitochondria", "nucleus")


def test_nothing_found_is_an_answer(owl, section):
    said = answer("nucleus", section, detector=owl, min_score=1.0)
    assert said.prompts is None
    assert "found 0 of 'nucleus', with a score above 1" in said.sentence


def test_the_masks_of_sam_3_come_with_the_answer(tmp_path, section):
    said = answer("nucleus", section, detector=load_detector(write_sam3(tmp_path)), min_score=0.0)
    assert len(said.detections.masks) == len(said.detections) > 0


def test_a_word_that_nothing_understands_lists_what_would_be(segmenter):
    with pytest.raises(InputError) as caught:
        understand("mitochondria, nuclei", segmenter=segmenter)
    message = str(caught.value)
    assert message.startswith("nothing here understands 'nuclei': this model knows mitochondria")
    for word in ("mitochondrie", "Mitochondrium", "mitos", "none is configured", "--detector"):
        assert word in message
    assert "\n" not in message


def test_an_untuned_model_knows_no_word_and_says_what_would(headless):
    with pytest.raises(InputError, match="a tuned model with a head knows mitochondria"):
        understand("nuclei", segmenter=headless)
    for segmenter in (headless, None):
        with pytest.raises(ModelError, match=r"has no prompt-free head.*finetune.*--detector"):
            understand("mitochondries", segmenter=segmenter)


def test_a_model_without_a_head_may_still_ask_a_detector(headless, owl):
    meaning = understand("mitochondria", segmenter=headless, detector=owl)
    assert isinstance(meaning, DetectorPhrases)


@pytest.mark.parametrize(
    ("text", "message"), [("", "must name"), ("   ", "must name"), ("x" * 999, "at most 200")]
)
def test_no_words_or_too_many_are_refused(segmenter, owl, text, message):
    with pytest.raises(InputError, match=message):
        understand(text, segmenter=segmenter, detector=owl)
