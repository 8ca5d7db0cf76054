"""Coverage-guided fuzzing by atheris: python -m tests.fuzz.guided TARGET -runs=100000.

atheris changes a text or a file in whatever way reaches new lines of the parsers written here; it
needs Linux and `pip install atheris`. Each run is one file, written and read as a user's.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path

from mitosam.errors import MitosamError

AXES = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
SCALE = [{"type": "scale", "scale": [30.0, 8.0, 8.0]}]
IMAGE = {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": SCALE}]}
GROUP = {
    "zarr_format": 3,
    "node_type": "group",
    "attributes": {"ome": {"version": "0.5", "multiscales": [IMAGE]}},
}
ARRAY = {
    "zarr_format": 2, "shape": [3, 40, 48], "chunks": [2, 16, 16], "dtype": "|u1", "order": "C",
    "compressor": {"id": "zstd", "level": 3}, "fill_value": 0, "filters": None,
}  # fmt: skip
TENSORS = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An honest file, and the modules and function that read it."""

    name: str
    honest: bytes
    module: str
    read: str

    def reader(self) -> Callable[[Path], object]:
        """What is called with the file's path."""
        found: Callable[[Path], object] = getattr(import_module(self.module), self.read)
        return found


def _text(value: object) -> bytes:
    return json.dumps(value).encode()


def _study() -> bytes:
    return resources.files("mitosam").joinpath("studies/phantom.toml").read_bytes()


def _preset() -> bytes:
    return resources.files("mitosam").joinpath("presets/paper.toml").read_bytes()


def _safetensors() -> bytes:
    header = _text(TENSORS)
    return len(header).to_bytes(8, "little") + header + bytes(8)


READERS = "tests.fuzz.guided_readers"
PROMPTS_CSV = b"section,object,x,y,label,x0,y0,x1,y1\n0,1,,,,1,2,30,41\n0,2,77,81,1,,,,\n"
PROMPTS = [{"section": 0, "box": [1, 2, 30, 41], "points": [[7, 8, 1]]}]
TARGETS = {
    "zarr group": Target(
        name="a.zarr/zarr.json", honest=_text(GROUP), module=READERS, read="read_zarr_group"
    ),
    "zarr array": Target(
        name="a.zarr/.zarray", honest=_text(ARRAY), module=READERS, read="read_zarr_group"
    ),
    "prompts csv": Target(
        name="a.csv", honest=PROMPTS_CSV, module="mitosam.io.prompt_files", read="read_prompts"
    ),
    "prompts json": Target(
        name="a.json", honest=_text(PROMPTS), module="mitosam.io.prompt_files", read="read_prompts"
    ),
    "settings toml": Target(
        name="a.toml", honest=_preset(), module="mitosam.config", read="read_settings"
    ),
    "study toml": Target(
        name="a.toml",
        honest=_study(),
        module="mitosam.workflows.study_file",
        read="read_study_file",
    ),
    "safetensors header": Target(
        name="a.safetensors",
        honest=_safetensors(),
        module="mitosam.models.weight_files",
        read="read_metadata",
    ),
    "ome xml": Target(
        name="a.xml",
        honest=b'<OME xmlns="http://o"><Image><Pixels PhysicalSizeX="0.01" PhysicalSizeXUnit="um"'
        b' PhysicalSizeY="8" PhysicalSizeYUnit="nm" PhysicalSizeZ="1e-5"/></Image></OME>',
        module=READERS,
        read="read_ome_xml",
    ),
    "packed chunk": Target(
        name="a.bin",
        honest=bytes.fromhex("28b52ffd20006501006800"),
        module=READERS,
        read="read_chunk",
    ),
}


def main() -> None:
    """Fuzz one target until libFuzzer's options say that it is enough."""
    import atheris

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    target = TARGETS[sys.argv[1]]
    with atheris.instrument_imports(include=["mitosam.io", "mitosam.config", target.module]):
        read = target.reader()
    in_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    path = Path(tempfile.mkdtemp(prefix="guided-", dir=in_memory)) / target.name
    path.parent.mkdir(exist_ok=True)
    seeds = Path(tempfile.mkdtemp(prefix="guided-seeds-"))
    (seeds / "honest").write_bytes(target.honest)

    def read_one(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(MitosamError):
            read(path)

    limits = ["-rss_limit_mb=3000", "-timeout=20", "-max_len=8000", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[2:], str(seeds)], read_one)
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"name one of: {', '.join(TARGETS)}")
    main()
