from __future__ import annotations

import logging

import pytest
import torch

from mitosam.models.precision import choose_precision

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
