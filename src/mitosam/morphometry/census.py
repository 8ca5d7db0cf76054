"""Which instances there are, how large, and where: what all sections' rows tell together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mitosam.morphometry.sections import SectionRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The voxels and the place of one instance; the box's upper ends lie past the last voxel."""

    num_voxels: int
    num_sections: int
    largest_area_px: int
    """Of the section that shows most of it."""
    start_zyx: tuple[int, int, int]
    stop_zyx: tuple[int, int, int]
    sum_zyx: tuple[float, float, float]

    @property
    def centroid_zyx_px(self) -> tuple[float, float, float]:
        """The mean place of its voxels' centres, counted from the volume's corner."""
        z, y, x = (total / self.num_voxels for total in self.sum_zyx)
        return z, y, x

    def touches_border(self, shape_zyx: tuple[int, int, int]) -> bool:
        """Whether it reaches the volume's border, where it may be cut off.

        In a single section only the border in plane counts.
        """
        first_axis = 0 if shape_zyx[0] > 1 else 1
        return any(
            self.start_zyx[axis] == 0 or self.stop_zyx[axis] == shape_zyx[axis]
            for axis in range(first_axis, 3)
        )


class Census:
    """The extents of all instances, by id, fed row by row."""

    def __init__(self) -> None:
        self.extents: dict[int, Extent] = {}

    def counted(self, rows: Iterable[SectionRow]) -> Iterator[SectionRow]:
        """The rows as they are, each taken into account when the next is asked for."""
        for row in rows:
            yield row
            self.add(row)

    def add(self, row: SectionRow) -> None:
        """Take in one instance on one section."""
        z, area = row.section, row.area_px
        new = Extent(
            num_voxels=area,
            num_sections=1,
            largest_area_px=area,
            start_zyx=(z, row.y0, row.x0),
            stop_zyx=(z + 1, row.y1, row.x1),
            sum_zyx=(area * (z + 0.5), area * row.centroid_y_px, area * row.centroid_x_px),
        )
        known = self.extents.get(row.instance)
        self.extents[row.instance] = _joined(known, new) if known else new

    @property
    def num_voxels(self) -> int:
        """Voxels of all instances together."""
        return sum(extent.num_voxels for extent in self.extents.values())


def _joined(one: Extent, other: Extent) -> Extent:
    starts = [min(pair) for pair in zip(one.start_zyx, other.start_zyx, strict=True)]
    stops = [max(pair) for pair in zip(one.stop_zyx, other.stop_zyx, strict=True)]
    sums = [sum(pair) for pair in zip(one.sum_zyx, other.sum_zyx, strict=True)]
    return Extent(
        num_voxels=one.num_voxels + other.num_voxels,
        num_sections=one.num_sections + other.num_sections,
        largest_area_px=max(one.largest_area_px, other.largest_area_px),
        start_zyx=(starts[0], starts[1], starts[2]),
        stop_zyx=(stops[0], stops[1], stops[2]),
        sum_zyx=(sums[0], sums[1], sums[2]),
    )
