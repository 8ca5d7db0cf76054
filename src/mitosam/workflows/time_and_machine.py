"""When something was made, and on what: what a record of it says."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

REPORTED_PACKAGES = (
    "mitosam",
    "torch",
    "accelerate",
    "transformers",
    "monai",
    "numpy",
    "scikit-image",
)


def now() -> str:
    """The time, to the second, in UTC; the one in SOURCE_DATE_EPOCH, if that is set.

    Then two runs that do the same write the same bytes. Source: https://reproducible-builds.org/specs/source-date-epoch/
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    time = datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)
    return time.isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """Versions and machine, without names of hosts or users."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in REPORTED_PACKAGES},
    }


def _processor() -> str:
    """The processor's model, as Linux names it, or whatever Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
