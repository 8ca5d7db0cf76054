"""Bad input of commands on a run or a model ends in one line and touches nothing."""

from __future__ import annotations

import numpy as np
import pytest

from mitosam.workflows.prepare import prepare
from tests.cli.bad_input import Cases, assert_one_line_and_nothing_touched
from tests.tiny_runs import short_settings

CASES = Cases()
case = CASES.case


def prepared(place):
    run = place.folder / "prepared"
    prepare(place.sources, run, short_settings(place.model))
    return run


@case("boxes must lie inside the 192 x 192 px section, got x0=1, y0=1, x1=500, y1=20")
def prompts_outside_the_image(place):
    return place.predict(prompts=place.prompts(0, [1, 1, 500, 20]))


@case("prompts must lie on sections 0 to 3 of images, got section 9")
def prompts_on_a_section_that_is_not_there(place):
    return place.predict(prompts=place.prompts(9, [1, 1, 20, 20]))


@case("prompts.csv, row 2: column x0 must be a number, got 'left'")
def prompts_that_are_no_numbers(place):
    path = place.folder / "prompts.csv"
    path.write_text("section,x0,y0,x1,y1\n0,left,1,20,20\n")
    return place.predict(prompts=path)


@case("give prompts with either --prompts or --from-masks or --text")
def no_prompts(place):
    return ["predict", place.sources.images, "--out", place.out, "--model", place.model]


@case("prepared is not trained yet; run `mitosam train")
def run_not_trained_yet(place):
    return place.predict(model=prepared(place))


@case("prepared has no scores; run `mitosam evaluate")
def run_not_evaluated_yet(place):
    return ["report", prepared(place)]


@case("is not a run \\(it has no settings.toml\\)")
def report_of_what_is_not_a_run(place):
    return ["report", place.folder]


@case("is not a run")
def training_what_is_not_a_run(place):
    return ["train", place.sources.images.parent]


@case("model.safetensors exists already; remove it to train this run anew")
def training_twice(place):
    return ["train", place.run.folder]


@case("--set changes what is scored, so it needs a folder of its own: --out")
def scoring_otherwise_in_place(place):
    return ["evaluate", place.run.folder, "--set", "evaluation.objects=patch"]


@case("only settings of \\[evaluation\\] can change after training, got seed: 0 -> 3")
def scoring_with_another_seed(place):
    return ["evaluate", place.run.folder, "--out", place.out, "--set", "seed=3"]


@case("--images and --masks go together")
def scoring_images_without_masks(place):
    return ["evaluate", place.run.folder, "--images", place.sources.images]


@case("format must be one of huggingface, original, onnx, bioimageio, got 'tflite'")
def unknown_export_format(place):
    return ["export", place.run.folder, "--out", place.out, "--to", "tflite"]


@case("--cite needs 'TEXT; DOI', got 'Ada'")
def citation_without_a_doi(place):
    return ["export", place.run.folder, "--out", place.out, "--cite", "Ada"]


@case("this model does not know it; pass --voxel-size")
def package_of_a_model_without_a_voxel_size(place):
    return ["export", "vit_t", "--out", place.out / "m.zip", "--to", "bioimageio"]


@case("names its authors; pass --author")
def package_without_an_author(place):
    return ["export", place.run.folder, "--out", place.out / "m.zip", "--to", "bioimageio"]


@case("a BioImage.IO package is a .zip file, got m.tar")
def package_of_another_kind(place):
    return ["export", place.run.folder, "--out", place.out / "m.tar", "--to", "bioimageio"]


@case("exists already")
def export_onto_a_file(place):
    return ["export", place.run.folder, "--out", place.sources.images]


@case("none.tif does not exist")
def info_on_nothing(place):
    return ["info", place.folder / "none.tif"]


@case("no demo made it; choose another --out")
def demo_in_a_folder_of_something_else(place):
    return ["demo", "--out", place.sources.images.parent]


@case("does not look like masks: it has .* values besides 0")
def measuring_an_image(place):
    return ["measure", place.sources.images, "--out", place.out]


@case("values that are not whole numbers")
def measuring_probabilities(place):
    path = place.write("p.tif", np.full((2, 9, 9), 0.5, np.float32))
    return ["measure", path, "--out", place.out]


@case("holds negative values; give masks with 0 for background")
def measuring_negative_ids(place):
    path = place.write("n.tif", np.full((2, 9, 9), -3, np.int16))
    return ["measure", path, "--out", place.out]


@case(r"masks says 10 x 10 x 10 nm .* and --voxel-size says 30 x 8 x 8 nm .*; leave out")
def measuring_with_another_voxel_size(place):
    return ["measure", place.sources.masks, "--voxel-size", "30,8,8", "--out", place.out]


@case("exists already; choose another --out")
def measuring_into_results(place):
    return ["measure", place.sources.masks, "--out", place.sources.masks.parent]


@case("table_sections.csv exists already; choose another --out")
def measuring_into_a_table_beside_results(place):
    (place.folder / "table_sections.csv").write_text("corrected by hand")
    return ["measure", place.sources.masks, "--out", place.folder / "table.csv"]


@case("probabilities must have the labels' sections, rows and columns")
def measuring_with_probabilities_of_another_shape(place):
    path = place.write("p.tif", np.zeros((2, 9, 9), np.float32))
    return ["measure", place.sources.masks, "--probability", path, "--out", place.out]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_touches_nothing(name, place, mitosam):
    assert_one_line_and_nothing_touched(CASES[name], place, mitosam)
