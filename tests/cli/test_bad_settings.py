"""Bad settings, splits, models and places end in one line and touch nothing."""

from __future__ import annotations

import pickle
import shutil

import pytest
from safetensors.torch import load_file, save_file

from mitosam.models.tuned import TUNED_KEY, read_tuned_info
from tests.cli.bad_input import Cases, Place, assert_one_line_and_nothing_touched

CASES = Cases()
case = CASES.case


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


@case("device warp is not there")
def unknown_device(place):
    return place.finetune(more=["--set", "model.device=warp"])


@case('data.tile_px: tile_px must be a number of pixels from 32 or "auto", got .foo.')
def tile_that_is_no_size(place):
    return place.finetune(more=["--set", "data.tile_px=foo"])


@case("model.input_px must be a multiple of 16 for .*, got 1000")
def input_that_no_grid_of_cells_fills(place):
    return place.finetune(more=["--set", "model.input_px=1000"])


@case("model.input_px must be at least 224, the window of .*, got 64")
def input_smaller_than_a_window(place):
    return place.finetune(more=["--set", "model.input_px=64"])


@case("model.input_px = 1600000 takes about .* GB of memory to encode")
def input_larger_than_the_memory(place):
    return place.finetune(more=["--set", "model.input_px=1600000"])


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_touches_nothing(name, place, mitosam):
    assert_one_line_and_nothing_touched(CASES[name], place, mitosam)


@pytest.mark.parametrize(
    "command", [["finetune"], ["finetune", "--wrong"], ["nonsense"], ["train", "a", "b"]]
)
def test_a_command_that_is_misspelt_is_exit_code_2(command, mitosam):
    done = mitosam(*command)
    assert done.code == 2
    assert done.err.startswith("Usage: mitosam")
    assert "Traceback" not in done.err
