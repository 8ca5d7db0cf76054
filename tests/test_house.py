"""What holds for the project as a whole, whatever its code does."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import mitosam

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "matplotlib", "transformers", "monai", "skimage", "zarr", "nicegui")


@pytest.mark.parametrize("module", ["mitosam", "mitosam.cli"])
def test_importing_is_light(module):
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert importlib.metadata.version("mitosam") == mitosam.__version__


def test_the_wheel_carries_every_file_of_the_package(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("mitosam/")}
    source = ROOT / "src"
    present = {
        path.relative_to(source).as_posix()
        for path in (source / "mitosam").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == present


def test_every_package_installed_for_mitosam_is_pinned():
    text = (ROOT / "constraints.txt").read_text()
    pinned = {canonical(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    needed = {canonical(re.split(r"[<>=!~ \[;]", requirement)[0]) for requirement in named}
    assert needed <= pinned
    assert not pinned & {"torchvision", "timm"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_tracked_file_names_a_place_on_one_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout: lists the tracked files")
    # Split so that this file does not hold what it looks for.
    place = re.compile(rb"/(?:" + b"work|root|opt|home|Users" + rb")/[\w.]")
    found = [
        name
        for name in listed.stdout.split("\0")
        if name.endswith(TEXT_SUFFIXES) and place.search((ROOT / name).read_bytes())
    ]
    assert not found


TEXT_SUFFIXES = (
    *(".py", ".md", ".toml", ".txt", ".csv", ".json", ".svg", ".html", ".css", ".j2"),
    *("Makefile", "run", "NOTICE", ".gitignore"),
)
