"""The process in which files are opened: `FORMAT FIRST STOP` in, a line for each case out."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from functools import cache
from pathlib import Path
from random import Random

from mitosam.errors import MitosamError
from tests.fuzz.formats import FORMATS, Format
from tests.fuzz.mutate import Files, mutate
from tests.fuzz.reseal import is_sealed, opened, sealed_again

SPARE_BYTES = 4 << 30
"""What a case may map beyond what the process has mapped when it begins."""
KNOWING = 0.95
"""How much of the damage under a checksum that fits knows the format: little else is sealed."""
FREE_BYTES = 256 << 20
TIMES_HONEST = 10


def main() -> None:
    """Answer until the input ends."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    place = Path(
        tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    try:
        for line in sys.stdin:
            name, first, stop = line.rsplit(maxsplit=2)
            prepare(name)
            for number in range(int(first), int(stop)):
                print(json.dumps(answer(FORMATS[name], number, place)), flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@cache
def prepare(name: str) -> None:
    """Import what a format needs and open its honest file, before time and memory count."""
    files, target = honest(name)
    with tempfile.TemporaryDirectory(prefix="honest-") as made:
        write(files, Path(made))
        FORMATS[name].read(Path(made) / target)
    print("{}", flush=True)


def answer(fmt: Format, number: int, place: Path) -> dict[str, object]:
    """What came of one case, with the time and the memory it took."""
    files, target = honest(fmt.name)
    damaged = damage(fmt, files, Random(f"{fmt.name} {number}")) if number else files
    folder = place / "case"
    write(damaged, folder)
    _limit_memory()
    before, started = _reset_peak(), time.monotonic()
    outcome, what = attempt(fmt, folder / target)
    seconds, used = time.monotonic() - started, _status("VmHWM") - before
    allowed = max(FREE_BYTES, TIMES_HONEST * sum(map(len, files.values())))
    if used > allowed and outcome != "finding":
        outcome, what = "finding", f"memory: {used >> 20} MB; {what}"
    shutil.rmtree(folder, ignore_errors=True)
    return {"outcome": outcome, "what": what, "bytes": used, "seconds": seconds}


def damage(fmt: Format, files: Files, random: Random) -> Files:
    """Damaged files; of those that carry checksums every other one has checksums that fit."""
    if not fmt.private and is_sealed(files) and random.random() < 0.5:
        return sealed_again(files, mutate(opened(files), random, KNOWING))
    return mutate(files, random)


def attempt(fmt: Format, path: Path) -> tuple[str, str]:
    """`read`, `refused` or `finding`, and the error."""
    try:
        fmt.read(path)
    except MitosamError as error:
        if _ran_out_of_memory(error):
            return "finding", f"memory: asked for more than {SPARE_BYTES >> 30} GB: {error}"
        return "refused", f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001  # each is a finding
        return "finding", f"{type(error).__name__}: {str(error)[:200]} {_where(error)}"
    return "read", ""


def _ran_out_of_memory(error: BaseException | None) -> bool:
    seen: set[int] = set()  # an error raised again may be its own context
    while error is not None and id(error) not in seen:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _where(error: BaseException) -> str:
    """The last line of the product that was being run."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/mitosam/" in f.filename]
    frame = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"at {frame.filename.rpartition('/mitosam/')[2]}:{frame.lineno} {frame.name}"


@cache
def honest(name: str) -> tuple[Files, str]:
    """The honest files of a format, and the one that is opened."""
    with tempfile.TemporaryDirectory(prefix="honest-") as made:
        folder = Path(made)
        target = FORMATS[name].write(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        return files, target.relative_to(folder).as_posix()


def write(files: Files, folder: Path) -> None:
    """Files as they are by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _limit_memory() -> None:
    mapped = _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + SPARE_BYTES, resource.RLIM_INFINITY))


def _reset_peak() -> int:
    """What is held now; from here on the peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


if __name__ == "__main__":
    main()
