"""The most memory that a piece of work held."""

from __future__ import annotations

import ctypes
import gc
import platform
import threading
from types import TracebackType

INTERVAL_S = 0.05


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
