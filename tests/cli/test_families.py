"""Whole runs on models other than SAM."""

from __future__ import annotations

import pytest

from mitosam.io.open import open_volume
from mitosam.models.tuned import read_tuned_info
from mitosam.workflows.runs import Run
from mitosam.workflows.tuned_model import load_predictor
from tests.models.tiny_families import write_family
from tests.tiny_runs import SHORT


@pytest.mark.parametrize("family", ["sam2", "sam3_tracker"])
def test_a_run_on_a_family_ends_in_a_model_that_predicts(mitosam, tmp_path, sources, family):
    folder = tmp_path / family
    write_family(folder, family)
    settings = [f"model.name={folder}", 'evaluation.protocols=["object-box"]', *SHORT]
    flags = [part for setting in settings for part in ("--set", setting)]
    out = tmp_path / "run"
    ended = mitosam("finetune", sources.images, sources.masks, "--out", out, *flags)
    assert ended.code == 0, ended.err
    assert read_tuned_info(Run.open(out).tuned_weights).trained_parts == ("mask_decoder",)
    assert (out / "report.html").exists()
    predictor = load_predictor(out)
    assert predictor.model.architecture == family
    predictor.set_image(open_volume(sources.images).section(0))
    found = predictor.predict(box=[20, 30, 70, 90])
    assert found.masks.shape[1:] == (192, 192)
