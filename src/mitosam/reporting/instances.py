"""What a page tells of each instance that was found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One instance's size and shape; what was not measured is None.

    Lengths are in µm, areas in µm² and volumes in µm³ where the voxel size is known, and in px,
    px² and voxels where it is not.
    """

    label: int
    num_voxels: int
    at_border: bool
    """Whether it touches a face of the volume, so that only a part of it was seen."""
    first_section: int
    last_section: int
    """Indices from 0, both ends included."""
    volume: float | None = None
    length: float | None = None
    sphericity: float | None = None
    """1 for a ball, less for everything else."""
    section_area: float | None = None
    """Of its largest section."""
    nearest_distance: float | None = None
    """From its surface or centre to the nearest other instance."""
