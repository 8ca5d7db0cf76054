from __future__ import annotations

import numpy as np
import pytest

from mitosam.errors import InputError
from mitosam.workflows.plan import plan
from mitosam.workflows.plan_parts import PartsTiming
from mitosam.workflows.plan_timing import Sharing, Timing
from tests.tiny_runs import contents, short_settings, write_phantom, write_stacks


def test_a_plan_has_times_memory_and_disk_and_writes_no_run(tmp_path, sources, base_model):
    cache = tmp_path / "cache"
    settings = short_settings(base_model, f"cache.folder={str(cache)!r}", "training.parts=late")
    before = contents(sources.images.parent)
    found = plan(sources, settings, with_presets=False)
    names = ["encode", "score base and tuned model", "train", "report"]
    assert [stage.name for stage in found.stages] == names
    assert all(stage.seconds > 0 for stage in found.stages)
    assert found.seconds == sum(stage.seconds for stage in found.stages)
    assert found.peak_memory_bytes > 10**8
    assert found.cache_bytes > 0
    assert found.run_bytes > 4 * 192 * 192
    assert found.precision == "fp32"
    assert contents(sources.images.parent) == before
    assert len(contents(cache)) == 2  # an embedding, and features before the late blocks


def test_more_epochs_take_longer_in_proportion(sources, base_model):
    short, long = (
        plan(
            sources, short_settings(base_model, f"training.min_steps={steps}"), with_presets=False
        ).stages[2]
        for steps in (10, 1000)
    )
    assert (short.amount, long.amount) == ("10 steps", "1000 steps")


def test_a_single_section_can_be_planned(tmp_path, base_model):
    sources = write_phantom(tmp_path, shape_zyx=(1, 192, 192))
    assert plan(sources, short_settings(base_model), with_presets=False).seconds > 0


def test_many_sections_paired_by_name_are_sampled(tmp_path, base_model):
    import imageio.v3 as iio

    from mitosam.workflows.prepare import Sources

    phantom = write_phantom(tmp_path / "stack", shape_zyx=(9, 96, 96))
    from mitosam.io.open import open_volume

    for kind, source in (("images", phantom.images), ("masks", phantom.masks)):
        (tmp_path / kind).mkdir()
        for z, section in enumerate(open_volume(source).sections()):
            pixels = section if kind == "images" else (section > 0) * 255
            iio.imwrite(tmp_path / kind / f"{kind}_{z}.png", pixels.astype(np.uint8))
    sources = Sources(images=tmp_path / "images", masks=tmp_path / "masks")
    assert plan(sources, short_settings(base_model), with_presets=False).seconds > 0


def test_sampled_sections_without_mitochondria_are_an_error(tmp_path, base_model):
    labels = np.zeros((40, 64, 64), np.uint16)
    labels[1, 10:40, 10:40] = 1  # the plan looks at six sections, of which this is none
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    sources = write_stacks(tmp_path, images, labels)
    with pytest.raises(InputError, match="no mitochondria"):
        plan(sources, short_settings(base_model))


@pytest.mark.parametrize(
    ("processes", "batch_tiles", "step_s"),
    [(1, 1, 12), (4, 1, 12), (2, 4, 6), (3, 4, 6), (4, 4, 3)],
)
def test_processes_share_encodings_and_the_tiles_of_a_step(processes, batch_tiles, step_s):
    sharing = Sharing(processes=processes, batch_tiles=batch_tiles)
    alone = Timing(encode_s=12, step_s=12, answer_s=12, validation_s=12, head_step_s=12)
    shared = sharing.of(alone)
    assert shared.encode_s == shared.validation_s == 12 / processes
    assert shared.step_s == step_s
    assert shared.answer_s == shared.head_step_s == 12
    preset = sharing.of_preset(PartsTiming(preset="late", front_s=12, step_s=12))
    assert (preset.front_s, preset.step_s) == (12 / processes, step_s)
