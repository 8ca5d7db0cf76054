"""How maps of foreground and boundary become instances: what a user may set of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class InstanceSettings(BaseModel):
    """How maps become instances; unless set, validation sections choose the thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    foreground_threshold: float = Field(default=0.5, gt=0, lt=1)
    """Foreground from which a pixel belongs to a mitochondrion."""
    boundary_threshold: float = Field(default=0.5, gt=0, le=1)
    """Boundary from which a pixel may part two mitochondria; 1 never parts what touches."""
    link_overlap: float = Field(default=0.1, ge=0, le=1)
    """Share of the smaller of two cores in neighbouring sections that the other must cover for both
    to be one instance, as no boundary shows between what lies one above the other; with 0 it is
    enough that they touch, be it at a corner."""
    z_radius: int = Field(default=0, ge=0)
    """Sections above and below whose median replaces the maps; it fills drop-outs and removes what
    is in one section only. 0 where sections lie far apart."""
    min_area_px: int = Field(default=50, ge=1)
    """Smallest area of an instance in one section that is thin, so that all of it is boundary; the
    core of any other has at least an eighth of this."""
    min_volume_voxels: int = Field(default=200, ge=1)
    """Smallest instance."""
    min_confidence: float = Field(default=0.75, ge=0, le=1)
    """Foreground that at least half of an instance must have; what is found falsely seldom does.
    The default was chosen on sections kept for development (docs/results)."""
    min_whole_voxels: int = Field(default=0, ge=0)
    """Smallest instance that no face of the volume cuts; of others only a part is seen."""
    min_sections: int = Field(default=1, ge=1)
    """Fewest sections an instance must span, unless it touches the first or the last one."""

    def for_pixels(self, per_pixel: float) -> InstanceSettings:
        """The same where so many pixels cover what one covered when they were chosen."""
        areas = ("min_area_px", "min_volume_voxels", "min_whole_voxels")
        scaled = {name: round(getattr(self, name) * per_pixel) for name in areas}
        least = {"min_area_px": 1, "min_volume_voxels": 1, "min_whole_voxels": 0}
        return self.model_copy(update={name: max(scaled[name], least[name]) for name in areas})

    def for_one_section(self) -> InstanceSettings:
        """The same for one section alone, in which an instance has an area and no volume."""
        return self.model_copy(
            update={
                "z_radius": 0,
                "min_volume_voxels": self.min_area_px,
                "min_whole_voxels": 0,
                "min_sections": 1,
            }
        )
