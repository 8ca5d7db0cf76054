"""How sections are cut into patches and tiles."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mitosam.geometry import Edge


class DataSettings(BaseModel):
    """What a patch is, and how much of the section the encoder sees round it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    patch_px: int = Field(default=256, ge=32)
    """Side of the square patches that a patch box stands for and that are scored, in pixels."""
    tile_px: int = Field(default=512, ge=32)
    """Side of the square tiles the encoder sees, in pixels of the section. Each tile is scaled to
    the model's input (1024 px), so smaller tiles mean larger objects, sharper outlines and more
    tiles to encode; 256 is the original experiment's scale."""
    edge: Edge = "pad"
    """What becomes of sections that patch_px does not divide: "pad" keeps all pixels and fills the
    last patches up with black, "crop" leaves the remainder out and says how much that is."""
    min_object_px: int = Field(default=20, ge=1)
    """Mitochondria (or pieces of them at the edge of a tile or patch) smaller than this get no
    prompt of their own."""

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.tile_px < self.patch_px:
            raise ValueError(
                f"tile_px must be at least patch_px, got {self.tile_px} with {self.patch_px}"
            )
        return self
