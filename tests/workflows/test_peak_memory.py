from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from mitosam.workflows import peak_memory
from mitosam.workflows.peak_memory import PeakMemory, peak_bytes


def test_the_peak_of_memory_counts_what_was_held_in_between():
    with PeakMemory() as small:
        pass
    with PeakMemory() as large:
        held = np.ones(25_000_000)
        for _ in range(20):
            held += 1
        del held
    assert large.process_bytes > small.process_bytes + 100e6


def test_the_peak_of_a_process_is_not_less_than_what_it_holds_and_never_falls():
    held = np.ones(10_000_000)
    holding = psutil.Process().memory_info().rss
    del held
    first = peak_bytes()
    assert first > 0.9 * holding  # the kernel's two counts may differ by a few pages
    assert peak_bytes() >= first


@pytest.mark.skipif(sys.platform == "win32", reason="needs getrusage: runs on Linux and macOS")
@pytest.mark.parametrize("text", [None, "Name:\tpython\nVmRSS:\t 1936 kB\n"])
def test_where_linux_does_not_say_the_peak_getrusage_does(tmp_path, monkeypatch, text):
    said = peak_bytes()
    status = tmp_path / "status"
    if text is not None:
        status.write_text(text)
    monkeypatch.setattr(peak_memory, "STATUS", status)
    assert peak_bytes() > 0.9 * said
