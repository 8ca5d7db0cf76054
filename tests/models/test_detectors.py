"""Detectors of the real classes with random weights: where boxes lie, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import GroundingDinoImageProcessorPil, Owlv2ImageProcessorPil
from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor

from mitosam.errors import InputError, ModelError, ModelNotFoundError
from mitosam.models import concepts, grounding_dino, owl
from mitosam.models.detections import MAX_BOX_IOU, RawBoxes, box_iou, choose_boxes
from mitosam.models.detector_images import PixelSettings, read_pixel_settings, scaled, squared
from mitosam.models.detectors import load_detector
from tests.models.tiny_detectors import WRITERS

FAMILIES = tuple(WRITERS)
PHRASES = ("mitochondria", "a lipid droplet")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("detectors")
    return {family: write(place / family) for family, write in WRITERS.items()}


@pytest.fixture(scope="module")
def detectors(folders):
    return {family: load_detector(folder) for family, folder in folders.items()}


@pytest.fixture
def copied(folders, tmp_path):
    def copy(family: str) -> Path:
        return Path(shutil.copytree(folders[family], tmp_path / "copy"))

    return copy


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width)).astype(np.uint8)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape_yx", [(60, 90), (90, 60), (37, 37), (200, 130)])
def test_boxes_lie_inside_the_image_and_come_surest_first(detectors, family, shape_yx):
    found = detectors[family].detect(picture(*shape_yx), PHRASES, min_score=0.0)
    height, width = shape_yx
    x0, y0, x1, y1 = found.boxes_xyxy.T
    assert len(found) > 0
    assert (x0 >= 0).all()
    assert (y0 >= 0).all()
    assert (x1 <= width).all()
    assert (y1 <= height).all()
    assert (x1 - x0 >= 1).all()
    assert (y1 - y0 >= 1).all()
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert set(found.phrases) <= set(PHRASES)
    assert len(found.phrases) == len(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_question_has_the_same_answer(folders, detectors, family):
    image = picture(50, 70)
    first = detectors[family].detect(image, PHRASES, min_score=0.0)
    again = load_detector(folders[family]).detect(image, PHRASES, min_score=0.0)
    np.testing.assert_array_equal(first.boxes_xyxy, again.boxes_xyxy)
    assert first.phrases == again.phrases


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_found_is_an_empty_result(detectors, family):
    found = detectors[family].detect(picture(40, 60), ["nucleus"], min_score=1.0)
    assert len(found) == 0
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.phrases == ()
    assert found.masks == (() if detectors[family].draws_masks else None)


def test_sam_3_draws_a_mask_for_each_box_and_the_others_none(detectors):
    for family, detector in detectors.items():
        found = detector.detect(picture(60, 90), PHRASES, min_score=0.0)
        assert (found.masks is not None) == detector.draws_masks == (family == "sam3")
    assert len(found.masks) == len(found) > 1
    for mask in found.masks:
        assert mask.pixels.shape == (mask.window.height, mask.window.width)
        assert mask.window.y + mask.window.height <= 60
        assert mask.window.x + mask.window.width <= 90


@pytest.mark.parametrize("family", ["owlv2", "sam3"])
def test_each_of_several_phrases_is_found_as_if_asked_alone(detectors, family):
    """But for what both find: that is told once. Grounding DINO reads its phrases together."""
    detector, image = detectors[family], picture(64, 64)
    alone = [detector.detect(image, [phrase], min_score=0.0) for phrase in PHRASES]
    rows = {tuple(np.round(box, 3)) for found in alone for box in found.boxes_xyxy}
    both = detector.detect(image, PHRASES, min_score=0.0)
    assert {tuple(np.round(box, 3)) for box in both.boxes_xyxy} <= rows


@pytest.mark.parametrize("family", FAMILIES)
def test_a_phrase_that_is_too_long_is_refused(detectors, family):
    with pytest.raises(InputError, match=r"reads at most \d+ tokens"):
        detectors[family].detect(picture(40, 40), ["abc " * 60])


def test_owls_boxes_by_hand():
    """A third of a 120 x 60 px image's padded square is 40 px, along both axes."""
    logits = torch.tensor([[0.0, 2.0], [-4.0, -5.0]])
    centred = torch.tensor([[0.5, 0.25, 1 / 3, 1 / 6], [0.5, 0.75, 0.5, 0.25]])
    raw = owl.raw_boxes(logits, centred, (60, 120))
    expected = torch.tensor([[40.0, 20, 80, 40], [30, 75, 90, 105]])
    torch.testing.assert_close(raw.xyxy, expected)
    assert raw.phrase.tolist() == [1, 0]
    chosen, queries = choose_boxes(raw, (60, 120), 0.0)
    assert queries.tolist() == [0]  # the other one lies in the padding
    torch.testing.assert_close(chosen.scores, torch.sigmoid(torch.tensor([2.0]).double()))


def test_owls_boxes_are_those_of_transformers():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 30, 2, generator=generator)
    centred = torch.rand(1, 30, 4, generator=generator)
    outputs = SimpleNamespace(logits=logits, pred_boxes=centred)
    processor = Owlv2ImageProcessorPil()
    (expected,) = processor.post_process_object_detection(
        outputs, threshold=-1.0, target_sizes=[(70, 110)]
    )
    raw = owl.raw_boxes(logits[0], centred[0], (70, 110))
    torch.testing.assert_close(raw.xyxy, expected["boxes"])
    torch.testing.assert_close(raw.scores, expected["scores"])
    assert raw.phrase.tolist() == expected["labels"].tolist()


def test_grounding_dinos_boxes_are_those_of_transformers_and_the_best_token_names_the_phrase():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 20, 16, generator=generator)
    centred = torch.rand(1, 20, 4, generator=generator)
    outputs = SimpleNamespace(logits=logits, pred_boxes=centred, input_ids=torch.zeros(1, 16).int())
    # Only its tokenizer's part is not wanted.
    wordless = SimpleNamespace(batch_decode=lambda ids: ["" for _ in ids])
    (expected,) = GroundingDinoProcessor.post_process_grounded_object_detection(
        wordless, outputs, threshold=-1.0, target_sizes=[(70, 110)]
    )
    of_phrase = torch.zeros(2, 8, dtype=torch.bool)
    of_phrase[0, 1:3], of_phrase[1, 4:7] = True, True
    raw = grounding_dino.raw_boxes(logits[0], centred[0], of_phrase, (70, 110))
    torch.testing.assert_close(raw.xyxy, expected["boxes"])
    torch.testing.assert_close(raw.scores, expected["scores"])
    first, second = (logits[0, :, tokens].amax(dim=1) for tokens in ([1, 2], [4, 5, 6]))
    assert raw.phrase.tolist() == (second > first).int().tolist()


def test_sam_3s_boxes_and_scores_by_hand():
    found = [
        SimpleNamespace(
            pred_boxes=torch.tensor([[[0.25, 0.5, 0.75, 1.0]]]),
            pred_logits=torch.tensor([[0.0]]),
            presence_logits=torch.tensor([[0.0]]),
        ),
        SimpleNamespace(
            pred_boxes=torch.tensor([[[0.0, 0.0, 0.5, 0.5]]]),
            pred_logits=torch.tensor([[0.0]]),
            presence_logits=None,
        ),
    ]
    raw = concepts.raw_boxes(found, (40, 100))
    assert raw.xyxy.tolist() == [[25, 20, 75, 40], [0, 0, 50, 20]]
    assert raw.scores.tolist() == [0.25, 0.5]
    assert raw.phrase.tolist() == [0, 1]


def test_sam_3s_masks_are_cut_out_at_the_images_own_pixels():
    logits = torch.full((4, 4), -9.0)
    logits[1:3, 2:] = 9.0
    mask = concepts._mask(logits, (8, 40))
    assert (mask.window.y, mask.window.x, mask.window.height, mask.window.width) == (2, 20, 4, 20)
    assert mask.pixels[:, 2:].all()  # between two cells it is bilinear, so corners are round
    assert concepts._mask(torch.full((4, 4), -9.0), (8, 40)) is None


def test_of_boxes_that_overlap_much_the_surest_is_kept():
    generator = torch.Generator().manual_seed(2)
    corners = torch.rand(200, 2, generator=generator) * 60
    sides = 5 + torch.rand(200, 2, generator=generator) * 40
    raw = RawBoxes(
        xyxy=torch.cat([corners, corners + sides], dim=1),
        scores=torch.rand(200, generator=generator),
        phrase=torch.zeros(200, dtype=torch.long),
    )
    chosen, queries = choose_boxes(raw, (200, 200), 0.0)
    boxes = raw.xyxy.double()
    overlaps = torch.stack([box_iou(box[None], boxes) for box in boxes])
    kept = set(queries.tolist())
    for query in range(200):
        better = [one for one in kept if raw.scores[one] > raw.scores[query]]
        is_told = any(overlaps[query, one] > MAX_BOX_IOU for one in better)
        assert (query in kept) != is_told
    assert chosen.scores.tolist() == sorted(chosen.scores.tolist(), reverse=True)


def rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=2)


@pytest.mark.parametrize("shape_yx", [(70, 110), (300, 90)])
def test_grounding_dino_sees_what_transformers_shows_it(shape_yx):
    image = picture(*shape_yx)
    processor = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    expected = processor(rgb(image), return_tensors="pt")["pixel_values"]
    ours = scaled(image, tuple(expected.shape[-2:]), grounding_dino.PUBLISHED)
    # It rounds to whole grey values in between.
    assert (ours - expected).abs().max() < 1.01 / 255 / 0.224


@pytest.mark.parametrize("shape_yx", [(70, 110), (300, 90), (30, 20)])
def test_owl_sees_what_transformers_shows_it(shape_yx):
    image = picture(*shape_yx)
    processor = Owlv2ImageProcessorPil(size={"height": 64, "width": 64})
    expected = processor(rgb(image), return_tensors="pt")["pixel_values"]
    ours = squared(image, 64, owl.PUBLISHED)
    assert (ours - expected).abs().max() < 1e-2
    assert (ours - expected).abs().mean() < 1e-3


@pytest.mark.parametrize("shape_yx", [(70, 110), (300, 90)])
def test_sam_3_sees_the_image_as_pillow_scales_it(shape_yx):
    image = picture(*shape_yx)
    small = Image.fromarray(image).resize((56, 56), Image.Resampling.BILINEAR)
    expected = (torch.from_numpy(np.array(small)).float() / 255 - 0.5) / 0.5
    ours = scaled(image, (56, 56), concepts.PUBLISHED)
    assert (ours[0, 0] - expected).abs().max() < 1.01 / 255 / 0.5


def test_what_the_folder_says_of_its_images_is_used(tmp_path):
    published = PixelSettings(mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    assert read_pixel_settings(tmp_path, published) == published
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0, 0, 0.5], "size": {"shortest_edge": 7, "longest_edge": 9}})
    )
    read = read_pixel_settings(tmp_path, published)
    assert (read.mean, read.std) == ((0, 0, 0.5), (1, 1, 1))
    assert (read.shortest_px, read.longest_px) == (7, 9)
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_processor": {"image_std": [2, 2, 2]}})
    )
    assert read_pixel_settings(tmp_path, published).std == (2, 2, 2)
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_mean": "grey"}))
    with pytest.raises(ModelError, match="no usable preprocessor_config"):
        read_pixel_settings(tmp_path, published)


def test_the_published_form_of_sam_3_which_holds_a_tracker_too_loads(copied, detectors):
    folder = copied("sam3")
    weights = load_file(folder / "model.safetensors")
    video = {f"detector_model.{name}": tensor for name, tensor in weights.items()}
    video["tracker_model.no_mem_embed"] = torch.zeros(3)
    save_file(video, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    both = {"model_type": "sam3_video", "detector_config": config, "tracker_config": {}}
    (folder / "config.json").write_text(json.dumps(both))
    image = picture(50, 80)
    expected = detectors["sam3"].detect(image, PHRASES, min_score=0.0)
    found = load_detector(folder).detect(image, PHRASES, min_score=0.0)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-4)
    (folder / "config.json").write_text(json.dumps({"model_type": "sam3_video"}))
    with pytest.raises(ModelError, match="has no detector_config"):
        load_detector(folder)


def test_loading_shows_nothing(folders, capfd):
    for folder in folders.values():
        load_detector(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("family", FAMILIES)
def test_pickled_weights_alone_are_refused_and_not_opened(copied, family):
    folder = copied(family)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": list(weights)}))
    with pytest.raises(ModelError, match=r"as a pickle \(pytorch_model\.bin\).* is not read"):
        load_detector(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_without_weights_says_what_to_put_where(copied, family):
    folder = copied(family)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"put the model's model\.safetensors beside"):
        load_detector(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_without_a_tokenizer_says_what_to_put_where(copied, family):
    folder = copied(family)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"no tokenizer; put the model's tokenizer\.json"):
        load_detector(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_damage_is_one_line(copied, family):
    folder = copied(family)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="damaged or incomplete") as caught:
        load_detector(folder)
    assert "\n" not in str(caught.value)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="holds a damaged tokenizer"):
        load_detector(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_weight_is_refused_and_not_made_up(copied, family):
    folder = copied(family)
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "encoder" in name and name.endswith("weight"))
    del weights[gone]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="1 weights missing"):
        load_detector(folder)


def test_weights_of_another_shape_are_refused(copied):
    folder = copied("owlv2")
    weights = load_file(folder / "model.safetensors")
    weights["class_head.dense0.weight"] = torch.zeros(3, 3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="damaged or incomplete"):
        load_detector(folder)


def test_a_folder_of_another_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam"}))
    with pytest.raises(ModelError, match=r"must be of type grounding-dino, owlv2, .* says sam"):
        load_detector(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": ["owlv2"]}))
    with pytest.raises(ModelError, match="must be of type"):
        load_detector(tmp_path)


def test_a_folder_that_is_none_or_empty_is_refused(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"there is no detector .*gone; give the folder"):
        load_detector(tmp_path / "gone")
    with pytest.raises(ModelNotFoundError, match=r"holds no config\.json"):
        load_detector(tmp_path)


def test_a_hub_name_that_is_not_here_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFoundError) as caught:
        load_detector("google/owlv2-base-patch16-ensemble")
    command = (
        "hf download google/owlv2-base-patch16-ensemble "
        '--include "*.json" --include "*.txt" --include "*.safetensors"'
    )
    assert command in str(caught.value)
    assert "--local-dir FOLDER" in str(caught.value)


def test_a_hub_model_in_the_local_cache_loads_by_its_name(tmp_path, monkeypatch, folders):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--tiny-owl"
    shutil.copytree(folders["owlv2"], repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert load_detector("someone/tiny-owl").name == "someone/tiny-owl"
