"""The command `serve`: what it prints, how it ends, and each bad input as one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

from mitosam.io.write import write_stack_tiff
from tests.tiny_runs import contents

START = "from mitosam.cli import main; main()"


def refused(finished, message):
    assert finished.code == 2
    assert "Traceback" not in finished.err
    lines = " ".join(finished.err.split())
    assert message in lines, lines
    return True


def test_a_volume_that_is_not_there_is_one_line_and_leaves_nothing(mitosam, tmp_path):
    done = mitosam("serve", tmp_path / "none.tif")
    assert refused(done, "none.tif does not exist")
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_none_is_one_line(mitosam, tmp_path, sources):
    done = mitosam("serve", sources.images, "--model", sources.masks, "--out", tmp_path / "work")
    assert refused(done, "masks.tif")


def test_labels_of_another_shape_are_one_line(mitosam, tmp_path, sources, base_model):
    labels = tmp_path / "labels.tif"
    write_stack_tiff(labels, np.ones((4, 20, 30), np.uint16), None)
    given = ("--labels", labels, "--model", base_model, "--out", tmp_path / "work")
    assert refused(mitosam("serve", sources.images, *given), "labels must be of the same size")


def test_a_port_that_is_taken_is_one_line(mitosam, tmp_path, sources):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = mitosam("serve", sources.images, "--port", port, "--out", tmp_path / "work")
    assert refused(done, f"port {port} cannot be used: Address already in use; leave --port out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_an_address_refuses_strangers_and_ends_in_good_order(
    tmp_path, sources, base_model, number
):
    before = contents(sources.images.parent)
    given = ["serve", str(sources.images), "--model", str(base_model), "--out", str(tmp_path / "w")]
    # NiceGUI behaves otherwise in a process that it takes for a test.
    environment = {name: text for name, text in os.environ.items() if "PYTEST" not in name}
    process = subprocess.Popen(
        [sys.executable, "-c", START, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    address = process.stdout.readline().strip()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.partition("?")[0])
    with urllib.request.urlopen(address) as welcome:
        assert welcome.status == 200
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped; the work is in" in said
    assert "Traceback" not in said
    assert contents(sources.images.parent) == before
    assert {path.name for path in tmp_path.iterdir()} == {"w"}
