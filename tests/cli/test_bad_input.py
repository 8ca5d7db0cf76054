"""Every bad input: one line with the way out, exit code 2, and nothing is touched."""

from __future__ import annotations

import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from safetensors.torch import load_file, save_file

from mitosam.io.prompt_files import write_prompts
from mitosam.models.tuned import TUNED_KEY, read_tuned_info
from mitosam.prompts import Prompts
from mitosam.workflows.prepare import Sources, prepare
from mitosam.workflows.runs import Run
from tests.models.tiny_detectors import write_owl
from tests.tiny_runs import SHORT, contents, short_settings

CASES = {}


@dataclass(frozen=True)
class Place:
    """Where a case finds good files and may put bad ones."""

    folder: Path
    sources: Sources
    model: Path
    run: Run

    @property
    def out(self):
        return self.folder / "out"

    def finetune(self, *, images=None, masks=None, out=None, model=None, more=()):
        settings = [part for text in SHORT for part in ("--set", text)]
        return [
            "finetune",
            images or self.sources.images,
            masks or self.sources.masks,
            *("--out", out or self.out, "--model", model or self.model),
            *settings,
            *more,
        ]

    def images(self):
        return tifffile.imread(self.sources.images)

    def masks(self):
        return tifffile.imread(self.sources.masks)

    def write(self, name, array):
        path = self.folder / name
        tifffile.imwrite(path, array, photometric="minisblack")
        return path

    def prompts(self, z, box):
        path = self.folder / "prompts.csv"
        write_prompts(path, {z: Prompts(boxes_xyxy=np.array([box], np.float64))})
        return path

    def predict(self, *, images=None, model=None, prompts=None):
        prompts = prompts or self.prompts(0, [1, 1, 20, 20])
        model = ["--model", model or self.model]
        return [
            "predict",
            images or self.sources.images,
            "--out",
            self.out,
            *model,
            "--prompts",
            prompts,
        ]


def case(message):
    """Register a case: a function from a place to a command, and what its error must say."""

    def register(function):
        CASES[function.__name__.replace("_", " ")] = (function, message)
        return function

    return register


@case("none.tif does not exist; check the spelling of the path")
def missing_images(place):
    return place.finetune(images=place.folder / "none.tif")


@case("none.tif does not exist; check the spelling of the path")
def missing_masks(place):
    return place.finetune(masks=place.folder / "none.tif")


@case("is damaged or cut short|cut short|copy it again")
def truncated_tiff(place):
    path = place.folder / "cut.tif"
    content = place.sources.images.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return place.finetune(images=path)


@case("is empty \\(0 bytes\\); copy it again")
def empty_file(place):
    (place.folder / "empty.tif").touch()
    return place.finetune(images=place.folder / "empty.tif")


@case("is not an image by its name; give a TIFF stack")
def not_an_image_by_name(place):
    (place.folder / "notes.docx").write_text("meeting")
    return place.finetune(images=place.folder / "notes.docx")


@case("notes.tif .*")
def not_an_image_inside(place):
    (place.folder / "notes.tif").write_text("meeting, but called an image; " * 9)
    return place.finetune(images=place.folder / "notes.tif")


@case("holds no image; give a folder of")
def folder_without_images(place):
    (place.folder / "nothing").mkdir()
    return place.finetune(images=place.folder / "nothing")


@case("images and masks must be equally large.*192 x 192 px.*192 x 100 px")
def masks_of_another_shape(place):
    return place.finetune(masks=place.write("small.tif", place.masks()[:, :100]))


@case("each image needs one mask, got 4 images .* and 3 masks")
def masks_of_another_count(place):
    return place.finetune(masks=place.write("few.tif", place.masks()[:3]))


@case("have no partner by name: .*; rename them, or move them elsewhere")
def names_that_match_in_part(place):
    for kind, numbers, stack in (("i", (1, 2, 3), place.images()), ("m", (1, 2, 4), place.masks())):
        (place.folder / kind).mkdir()
        for number, section in zip(numbers, stack, strict=False):
            iio.imwrite(place.folder / kind / f"{kind}_{number}.png", section.astype(np.uint8))
    return place.finetune(images=place.folder / "i", masks=place.folder / "m")


@case("has 1 pixels that are NaN or infinite; replace them")
def nan_image(place):
    images = place.images().astype(np.float32)
    images[2, 5, 5] = np.nan
    return place.finetune(images=place.write("nan.tif", images))


@case("is constant: every pixel is 7; give the EM images")
def constant_image(place):
    return place.finetune(images=place.write("flat.tif", np.full_like(place.images(), 7)))


@case("no mitochondria in any of 4 masks.*; give masks that mark mitochondria by another value")
def empty_masks_everywhere(place):
    return place.finetune(masks=place.write("none.tif", np.zeros_like(place.masks())))


@case("does not look like masks.*; give masks as PNG or TIFF")
def masks_that_look_like_images(place):
    return place.finetune(masks=place.sources.images)


@case("holds values that are not whole numbers.*; give masks with 0 for background")
def masks_that_are_probabilities(place):
    return place.finetune(masks=place.write("p.tif", place.masks().astype(np.float32) / 3))


@case("channels|axes")
def several_channels(place):
    path = place.folder / "colours.tif"
    stack = np.repeat(place.images()[:, None], 2, axis=1)
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": "ZCYX"}, photometric="minisblack")
    return place.finetune(images=path)


@case("holds a run already; pass --resume to go on with it, or another --out")
def a_run_that_exists(place):
    return place.finetune(out=place.run.folder)


@case("exists already; choose another --out")
def a_folder_that_exists(place):
    return place.finetune(out=place.sources.images.parent)


@case("exists already; choose another --out")
def a_file_in_the_place_of_the_folder(place):
    return place.finetune(out=place.sources.images)


@case("training.epoch is not a setting, did you mean training.epochs")
def unknown_setting(place):
    return place.finetune(more=["--set", "training.epoch=3"])


@case("training.epochs: .* greater than or equal to 1, got -2")
def setting_out_of_range(place):
    return place.finetune(more=["--set", "training.epochs=-2"])


@case("--set needs section.name=value, got 'epochs'")
def setting_without_a_value(place):
    return place.finetune(more=["--set", "epochs"])


@case("preset must be one of default, paper, got 'best'")
def unknown_preset(place):
    return place.finetune(more=["--preset", "best"])


@case("none.toml does not exist")
def missing_settings_file(place):
    return place.finetune(more=["--config", place.folder / "none.toml"])


@case("is not a TOML file")
def settings_that_are_not_toml(place):
    (place.folder / "run.toml").write_text("epochs: 3")
    return place.finetune(more=["--config", place.folder / "run.toml"])


@case("was made with other settings \\(training.epochs: 1 -> 9\\); resume with the same ones")
def resumed_with_changed_settings(place):
    return place.finetune(out=place.run.folder, more=["--resume", "--set", "training.epochs=9"])


@case("was made from other data than .*; resume with the same files")
def resumed_with_other_data(place):
    images = place.write("other.tif", 255 - place.images())
    return place.finetune(images=images, out=place.run.folder, more=["--resume"])


@case("out is not a run \\(it has no settings.toml\\); make one with")
def resumed_where_there_is_nothing(place):
    return place.finetune(more=["--resume"])


@case("train must lie in 1-4")
def sections_that_do_not_exist(place):
    return place.finetune(more=["--train", "1-9", "--test", "4"])


@case("train and test must not share sections, both have section 2")
def sections_that_train_and_test(place):
    return place.finetune(more=["--train", "1-2", "--test", "2-4"])


@case("--test-images and --test-masks go together")
def images_to_report_on_without_masks(place):
    return place.finetune(more=["--test-images", place.sources.images])


@case("none.safetensors|none")
def unknown_model(place):
    return place.finetune(model=place.folder / "none.safetensors")


@case("unpickl|pickle|re-save|save its weights")
def pickled_model(place):
    path = place.folder / "model.pth"
    with path.open("wb") as file:
        pickle.dump({"model": Place}, file)
    return place.finetune(model=path)


@case("is damaged")
def damaged_model(place):
    path = place.folder / "model.safetensors"
    path.write_bytes(b"\xff" * 99)
    return place.predict(model=path)


@case("holds the trained part alone|is a tuned model")
def tuned_model_as_base(place):
    return place.finetune(model=place.run.tuned_weights)


@case("was tuned from .* with hash .*; load it onto")
def tuned_model_of_another_base(place):
    run = place.folder / "run"
    shutil.copytree(place.run.folder, run)
    # The base that the run names is replaced by a model of other weights.
    other = place.folder / "base"
    shutil.copytree(place.model, other)
    weights = other / "model.safetensors"
    tensors = load_file(weights)
    tensors["mask_decoder.iou_token.weight"] += 1
    save_file(tensors, weights)
    head = load_file(run / "model.safetensors")
    info = read_tuned_info(run / "model.safetensors").model_copy(update={"base_name": str(other)})
    save_file(head, run / "model.safetensors", {TUNED_KEY: info.model_dump_json()})
    return place.predict(model=run)


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


@case("give prompts with either --prompts or --from-masks")
def no_prompts(place):
    return ["predict", place.sources.images, "--out", place.out, "--model", place.model]


@case("--voxel-size needs three numbers z,y,x in nm, got '5,5'")
def voxel_size_of_two_numbers(place):
    return place.finetune(more=["--voxel-size", "5,5"])


@case("--voxel-size needs finite numbers above 0, got '5,5,0'")
def voxel_size_of_zero(place):
    return place.finetune(more=["--voxel-size", "5,5,0"])


@case("--voxel-size needs finite numbers above 0, got 'nan,5,5'")
def voxel_size_that_is_no_number(place):
    return place.finetune(more=["--voxel-size", "nan,5,5"])


@case("--budget needs a time such as 30min, 1h30min or 90s, got 'soon'")
def budget_that_is_no_time(place):
    return place.finetune(more=["--budget", "soon"])


@case("--budget must be above 0, got '0min'")
def budget_of_nothing(place):
    return place.finetune(more=["--budget", "0min"])


def prepared(place):
    run = place.folder / "prepared"
    prepare(place.sources, run, short_settings(place.model))
    return run


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


@case("format must be one of huggingface, original, got 'onnx'")
def unknown_export_format(place):
    return ["export", place.run.folder, "--out", place.out, "--to", "onnx"]


@case("exists already")
def export_onto_a_file(place):
    return ["export", place.run.folder, "--out", place.sources.images]


@case("none.tif does not exist")
def info_on_nothing(place):
    return ["info", place.folder / "none.tif"]


@case("device warp is not there")
def unknown_device(place):
    return place.finetune(more=["--set", "model.device=warp"])


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


@pytest.fixture
def place(tmp_path, sources, base_model, finished):
    return Place(folder=tmp_path, sources=sources, model=base_model, run=finished)


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_touches_nothing(name, place, mitosam):
    function, message = CASES[name]
    command = function(place)
    folders = (place.folder, place.sources.images.parent, place.run.folder, place.model)
    before = [contents(folder) for folder in folders]
    done = mitosam(*command)
    assert done.code == 2
    lines = done.err.strip().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert re.search(message, lines[-1])
    assert "Traceback" not in done.err
    assert done.out == ""
    assert [contents(folder) for folder in folders] == before


@pytest.mark.parametrize(
    "command", [["finetune"], ["finetune", "--wrong"], ["nonsense"], ["train", "a", "b"]]
)
def test_a_command_that_is_misspelt_is_exit_code_2(command, mitosam):
    done = mitosam(*command)
    assert done.code == 2
    assert done.err.startswith("Usage: mitosam")
    assert "Traceback" not in done.err
