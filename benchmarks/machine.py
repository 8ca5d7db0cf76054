"""The kind of machine, in words that name no particular one."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import psutil


def describe_machine(threads: int) -> str:
    """Processor, cores used, memory and versions."""
    memory_gb = psutil.virtual_memory().total / 1e9
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")
    )
    return (
        f"{_processor()}, {threads} threads of {psutil.cpu_count()} cores, {memory_gb:.0f} GB, "
        f"{platform.system()}, Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    facts = {name.strip(): text.strip() for name, text in facts.items()}
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    features = [flag for flag in wanted if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} ({' '.join(features)})"
