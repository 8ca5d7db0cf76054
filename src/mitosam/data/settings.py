"""How sections are cut into patches and tiles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mitosam.geometry import Edge

MIN_TILE_PX = 32


class DataSettings(BaseModel):
    """What a patch is, and how much of the section the encoder sees round it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    patch_px: int = Field(default=256, ge=32)
    """Side of the square patches that a patch box stands for and that are scored, in pixels."""
    tile_px: Annotated[int, Field(ge=MIN_TILE_PX)] | Literal["auto"] = 512
    """Side of the square tiles the encoder sees, in pixels of the section. Each tile is scaled to
    the model's input (1024 px, or model.input_px), so smaller tiles mean larger objects and more
    tiles to encode; 256 is the original experiment's scale. "auto" measures the mitochondria of the
    training sections and takes the tile in which the typical one is 112 px wide at the model's
    input, as it is on the volume the default was chosen on."""
    edge: Edge = "pad"
    """What becomes of sections that patch_px does not divide: "pad" keeps all pixels and fills the
    last patches up with black, "crop" leaves the remainder out and says how much that is."""
    common_pixel_nm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Scale all sections to pixels of this size before anything else, so that volumes of different
    pixel size train together; the distance of sections stays. Unset: as they are in training, and
    of the size that the model was trained on where a volume is segmented."""
    min_object_px: int = Field(default=20, ge=1)
    """Mitochondria (or pieces of them at the edge of a tile or patch) smaller than this get no
    prompt of their own."""

    @property
    def tile_side_px(self) -> int:
        """`tile_px` as a number, which it is in every run that is prepared."""
        assert isinstance(self.tile_px, int), "preparing a run makes a number of tile_px = auto"
        return self.tile_px

    @field_validator("tile_px", mode="before")
    @classmethod
    def _check_tile(cls, value: object) -> object:
        is_side = isinstance(value, int) and value >= MIN_TILE_PX
        if not (is_side or value == "auto"):
            raise ValueError(f'tile_px must be a number of pixels from {MIN_TILE_PX} or "auto"')
        return value

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.tile_px != "auto" and self.tile_px < self.patch_px:
            raise ValueError(
                f"tile_px must be at least patch_px, got {self.tile_px} with {self.patch_px}"
            )
        return self
