"""How volumes that memory does not hold are measured."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

LEAST_MEMORY_GB = 0.5


class MeasureSettings(BaseModel):
    """What measuring may take."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    memory_gb: float = Field(default=2.0, ge=LEAST_MEMORY_GB)
    """Memory in GB that measuring may take (each process, where there are several), whatever the
    volume's size. An instance whose box is too large for it has its middle line measured at a
    coarser resolution, which is said."""

    @property
    def working_bytes(self) -> float:
        """What is left beside the program itself."""
        return self.memory_gb * 2**30 - _PROGRAM_BYTES


_PROGRAM_BYTES = 2**28
