"""Coverage-guided fuzzing by atheris: python -m tests.fuzz.guided TARGET -runs=100000.

atheris changes a file in whatever way reaches new lines of the parsers written here; it needs Linux
and the packages of the `dev` group. Each run is one file, which is written and opened as a user's.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

from mitosam.errors import MitosamError
from tests.fuzz.formats import FORMATS
from tests.fuzz.worker import honest, write

TARGETS = {
    "zarr metadata": ("ome-zarr 0.5", "a.ome.zarr/zarr.json"),
    "zarr array metadata": ("ome-zarr 0.4", "a.ome.zarr/0/.zarray"),
    "prompts csv": ("prompts csv", "prompts.csv"),
    "prompts json": ("prompts json", "prompts.json"),
    "settings toml": ("settings toml", "settings.toml"),
    "study toml": ("study toml", "study.toml"),
    "tiff voxels": ("tiff imagej", "a.tif"),
    "safetensors": ("safetensors", "a.safetensors"),
    "scores csv": ("scores csv", "base.csv"),
    "tiff ome": ("tiff ome", "a.tif"),
}
"""By name: the format, and which of its files is changed."""
INSTRUMENTED = ["mitosam.io", "mitosam.config", "mitosam.models.weight_files",
                "mitosam.models.weight_limits", "mitosam.workflows.study_file"]  # fmt: skip


def main() -> None:
    """Fuzz one target until libFuzzer's options say that it is enough."""
    import atheris

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    format_name, changed = TARGETS[sys.argv[1]]
    with atheris.instrument_imports(include=INSTRUMENTED):
        files, target = honest(format_name)
    folder = Path(tempfile.mkdtemp(prefix="guided-", dir=_in_memory()))
    write(files, folder)
    seeds = Path(tempfile.mkdtemp(prefix="guided-seeds-"))
    (seeds / "honest").write_bytes(files[changed])

    def open_one(data: bytes) -> None:
        (folder / changed).write_bytes(data)
        with suppress(MitosamError):
            FORMATS[format_name].read(folder / target)

    known = ["-rss_limit_mb=3000", "-timeout=20", "-max_len=20000", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *known, *sys.argv[2:], str(seeds)], open_one)
    atheris.Fuzz()


def _in_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit("name one of " + ", ".join(TARGETS))
    main()
