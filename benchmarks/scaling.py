"""What one `mitosam segment` of a generated volume takes: time, arithmetic, and memory."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fresh import reply
from mitosam.workflows.segment import segment
from mitosam.workflows.segment_folder import FACTS


def measure(
    *,
    folder: str,
    volume: str,
    num_workers: int,
    memory_gb: float,
    voxel_size_nm: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Seconds of the whole and of each stage, processor seconds, peak memory of any process."""
    images = Path(folder) / volume
    size_nm = (voxel_size_nm[0], voxel_size_nm[1], voxel_size_nm[2]) if voxel_size_nm else None
    with tempfile.TemporaryDirectory(dir=folder) as out:
        started = time.perf_counter()
        result = segment(
            images, Path(out) / "result", model="vit_t", method="head",
            num_workers=num_workers, memory_gb=memory_gb, voxel_size_nm=size_nm,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        facts = json.loads((result.out / FACTS).read_text("utf-8"))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "seconds": seconds,
        "stages_s": facts["seconds"],
        "cpu_s": sum(one.ru_utime + one.ru_stime for one in used),
        "worker_peak_bytes": used[1].ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "num_instances": len(result.instances),
    }


if __name__ == "__main__":
    reply(measure)
