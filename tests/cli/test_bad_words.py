"""Words that cannot be understood, and detectors that cannot be used, end in one line."""

from __future__ import annotations

import pickle

import pytest

from tests.cli.bad_input import Cases, assert_one_line_and_nothing_touched
from tests.models.tiny_detectors import write_owl

CASES = Cases()
case = CASES.case


def words(place, text, *more):
    model = ["--model", place.model]
    return ["predict", place.sources.images, "--out", place.out, *model, "--text", text, *more]


@case("words must name what to find, such as mitochondria, got ''")
def no_words(place):
    return words(place, "")


@case("words must name what to find")
def words_of_spaces_only(place):
    return words(place, " \t ")


@case("words must be at most 200 characters, got 5000")
def endless_words(place):
    return words(place, "mito " * 1000)


@case("nothing here understands 'nuclei'.* detector, and none is configured")
def words_that_nothing_understands(place):
    return words(place, "nuclei")


@case("has no prompt-free head, which finding all mitochondria needs")
def words_for_a_model_without_a_head(place):
    return words(place, "mitochondries")


@case("there is no detector .*nowhere; give the folder or the hub name")
def missing_detector(place):
    return words(place, "nuclei", "--detector", place.folder / "nowhere")


@case("a detector must be of type grounding-dino, owlv2, .* says mitosam_vit_t")
def detector_of_another_family(place):
    return words(place, "nuclei", "--detector", place.model)


@case("holds its weights as a pickle \\(pytorch_model.bin\\), which could run code")
def pickled_detector(place):
    folder = write_owl(place.folder / "owl")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    return words(place, "nuclei", "--detector", folder)


@case("google/owlv2-base-patch16 is not on this machine; run `hf download")
def detector_not_fetched_yet(place):
    return words(place, "nuclei", "--detector", "google/owlv2-base-patch16")


@case("either --prompts or --from-masks or --text")
def words_and_prompts(place):
    return [*place.predict(), "--text", "mitochondria"]


@pytest.mark.parametrize("name", CASES)
def test_bad_words_are_one_line_and_touch_nothing(name, place, mitosam):
    assert_one_line_and_nothing_touched(CASES[name], place, mitosam)
