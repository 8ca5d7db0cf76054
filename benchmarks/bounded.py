"""Peak memory of segmenting volumes of 1 to 40 GB: it is the setting's, whatever the volume.

python -m benchmarks.bounded              1, 4 and 16 GB, a quarter of an hour on 2 cores
python -m benchmarks.bounded 1 4 16 40    the largest as well, another quarter

Writes docs/results/bounded.md and bounded.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.fresh import ROOT, fresh
from benchmarks.machine import describe_machine
from benchmarks.page import table
from benchmarks.sparse_volume import SHAPES_ZYX, TISSUE_ZYX, VOXEL_SIZE_NM, volume_name
from mitosam.storage import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """One volume, segmented."""

    size_gb: int
    shape_zyx: Sequence[int]
    seconds: float
    cpu_s: float
    peak_bytes: int
    num_instances: int
    stages_s: dict[str, float]


def main() -> None:
    asked = _arguments()
    load, found = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory(prefix="mitosam-bounded-", dir=asked.folder) as folder:
        for size_gb in asked.sizes:
            one = ask(folder, size_gb, asked.memory, asked.threads)
            print(f"{size_gb} GB: {one.peak_bytes / 1e9:.2f} GB, {one.seconds:.0f} s", flush=True)
            found.append(one)
    sizes = " ".join(str(size) for size in asked.sizes)
    opening = (
        f"{time.strftime('%Y-%m-%d')}, `python -m benchmarks.bounded {sizes} --memory "
        f"{asked.memory:g} --threads {asked.threads}`. {describe_machine(asked.threads)}.\n"
        f"Load of the machine before the run: {load:.1f}."
    )
    write_text(asked.out, to_markdown(opening, asked.memory, found))
    facts = [asdict(one) for one in found]
    write_text(asked.out.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    print(f"{asked.out} and {asked.out.with_suffix('.json').name}")


def ask(folder: str, size_gb: int, memory_gb: float, threads: int) -> Bounded:
    """Segment one volume in a process of its own."""
    shape_zyx = fresh("sparse_volume", threads=threads, folder=folder, size_gb=size_gb)["shape_zyx"]
    answer = fresh(
        "scaling",
        threads=threads,
        folder=folder,
        volume=volume_name(size_gb),
        num_workers=1,
        memory_gb=memory_gb,
        voxel_size_nm=VOXEL_SIZE_NM,
    )
    wanted = ("seconds", "cpu_s", "peak_bytes", "num_instances", "stages_s")
    return Bounded(size_gb=size_gb, shape_zyx=shape_zyx, **{name: answer[name] for name in wanted})


def to_markdown(opening: str, memory_gb: float, found: Sequence[Bounded]) -> str:
    """The whole page."""
    header = ["volume", "sections", "peak memory, GB", "minutes", "instances"]
    rows = [
        [
            f"{one.size_gb} GB",
            "{} of {} x {} px".format(*one.shape_zyx),
            f"**{one.peak_bytes / 1e9:.2f}**",
            f"{one.seconds / 60:.1f}",
            str(one.num_instances),
        ]
        for one in found
    ]
    stages = [
        [name, *(f"{one.stages_s.get(name, 0):.0f}" for one in found)] for name in found[0].stages_s
    ]
    depth, height, width = TISSUE_ZYX
    return f"""# Memory

<!-- Written by `python -m benchmarks.bounded`. -->

{opening}

`mitosam segment --model vit_t --method head --memory {memory_gb:g}`, from the images to labels,
tables, previews and page, each volume in a process of its own. The volumes are empty but for two
places of {depth} x {height} x {width} voxels full of mitochondria, one a quarter and one half way
through the sections.

{table(header, rows)}
Seconds of each stage:

{table(["stage", *(f"{one.size_gb} GB" for one in found)], stages)}"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sizes", nargs="*", type=int, choices=SHAPES_ZYX, default=[1, 4, 16], help="GB of volumes"
    )
    parser.add_argument("--memory", type=float, default=4.0, help="GB that segmenting may take")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument("--folder", type=Path, help="where volumes and results lie for the while")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs/results/bounded.md", help="JSON stands beside it"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
