from __future__ import annotations

import logging

import pytest
import torch

from mitosam.errors import SettingsError
from mitosam.models.precision import choose_precision
from mitosam.models.promptable import autocast

CPU = torch.device("cpu")


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(asked):
    assert choose_precision(asked, CPU) == asked


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")],
)
def test_auto_takes_bf16_only_where_the_processor_computes_in_it(
    monkeypatch, caplog, capabilities, expected
):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    with caplog.at_level(logging.INFO):
        assert choose_precision("auto", CPU) == expected
    assert expected in caplog.text


def test_fp16_is_for_gpus_and_never_chosen_by_itself():
    assert choose_precision("fp16", torch.device("cuda")) == "fp16"
    with pytest.raises(SettingsError, match=r"fp16 needs a GPU; take auto, bf16 or fp32"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_network_computes_in_its_precision(precision, expected):
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
