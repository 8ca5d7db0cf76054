"""The most memory that a process, or a piece of its work, held."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
import threading
from pathlib import Path
from types import TracebackType

INTERVAL_S = 0.05
STATUS = Path("/proc/self/status")
"""What Linux says of this process; sandboxes may leave lines out."""


class PeakMemory:
    """While it is open, the most memory that this process held, sampled 20 times a second.

    What an earlier piece of work freed is given back to the system first, so that it is not counted
    (where glibc is the C library). Memory on a GPU is counted by torch, and exactly.
    """

    def __init__(self) -> None:
        self.process_bytes = 0
        self.device_bytes: int | None = None
        """None without a GPU."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        import torch

        gc.collect()
        if platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import torch

        self._ended.set()
        self._thread.join()
        if torch.cuda.is_available():
            self.device_bytes = torch.cuda.max_memory_allocated()

    def _watch(self) -> None:
        import psutil

        process = psutil.Process()
        while True:
            self.process_bytes = max(self.process_bytes, process.memory_info().rss)
            if self._ended.wait(INTERVAL_S):
                return


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    own = [1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    if own:  # getrusage counts what the process that started this one held
        return own[0]
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
