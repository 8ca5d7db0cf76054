"""The page of a segmented volume: what was found, how large it is, and how it was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mitosam.errors import InputError
from mitosam.reporting.instances import InstanceRow
from mitosam.reporting.outlines import OutlinedSection
from mitosam.reporting.pages import render_page
from mitosam.reporting.turntable import Turntable, describe_size
from mitosam.reporting.words import plural, three_figures
from mitosam.storage import write_text

NUM_LARGEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationContent:
    """Everything that the page shows; whatever is empty is left out."""

    title: str
    volume_name: str
    shape_zyx: tuple[int, int, int]
    model: str
    method: str
    """How instances were found, as "instance head, watershed"."""
    instances: Sequence[InstanceRow]
    voxel_size_nm: tuple[float, float, float] | None = None
    """Where it is unknown, the instances' measures are in px and voxels."""
    settings: Sequence[tuple[str, str]] = ()
    """Thresholds and the like, as label and value."""
    seconds: Sequence[tuple[str, float]] = ()
    """How long each stage took."""
    messages: Sequence[str] = ()
    """Warnings that a reader must see before any number."""
    previews: Sequence[OutlinedSection] = ()
    turntable: Turntable | None = None
    provenance: Sequence[tuple[str, str]] = ()
    """Data, model, settings and versions, as label and value."""

    def __post_init__(self) -> None:
        if min(self.shape_zyx) < 1:
            raise InputError(f"a volume's sides must be at least 1, got {self.shape_zyx}")

    @property
    def num_at_border(self) -> int:
        """How many instances touch a face of the volume."""
        return sum(row.at_border for row in self.instances)

    @property
    def volume_um3(self) -> float | None:
        """Of the whole volume; None without a voxel size."""
        if self.voxel_size_nm is None:
            return None
        return math.prod(self.shape_zyx) * math.prod(self.voxel_size_nm) / 1e9

    @property
    def density_um3(self) -> float | None:
        """Instances per µm³, those at the border counted whole."""
        return None if self.volume_um3 is None else len(self.instances) / self.volume_um3

    @property
    def volume_fraction(self) -> float:
        """The share of the volume's voxels that lie in an instance, in [0, 1]."""
        return sum(row.num_voxels for row in self.instances) / math.prod(self.shape_zyx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One big number with its unit and a sentence."""

    title: str
    number: str
    unit: str
    sentence: str


def write_segmentation_page(path: Path, content: SegmentationContent) -> Path:
    """Write the page, in the place of an earlier one once it is complete, and return its path."""
    write_text(path, render_segmentation(content))
    return path


def render_segmentation(content: SegmentationContent) -> str:
    """The page as one HTML text, which needs no other file."""
    from markupsafe import Markup

    # Imported here: Matplotlib comes with it, and the command line must answer without.
    from mitosam.reporting.distributions import distributions_svg

    calibrated = content.voxel_size_nm is not None
    distributions = ""
    if content.instances:
        distributions = Markup(distributions_svg(content.instances, calibrated=calibrated))
    return render_page(
        "segmentation.html.j2",
        content=content,
        headline=headline(content),
        lead=lead(content),
        glances=glances(content),
        distributions=distributions,
        largest=sorted(content.instances, key=lambda row: -row.num_voxels)[:NUM_LARGEST],
        colours=content.turntable.colours if content.turntable else {},
        units=("µm³", "µm", "µm²") if calibrated else ("voxels", "px", "px²"),
        size=describe_size(content.shape_zyx, content.voxel_size_nm),
    )


def headline(content: SegmentationContent) -> str:
    """How many mitochondria were found."""
    if not content.instances:
        return "No mitochondria were found"
    return f"{plural(len(content.instances), 'mitochondrion')} found"


def lead(content: SegmentationContent) -> str:
    """Where, in how large a volume, and how."""
    size = describe_size(content.shape_zyx, content.voxel_size_nm)
    voxels = plural(content.shape_zyx[0], "section")
    return f"In {content.volume_name}, {voxels}, {size}, with {content.model} and {content.method}."


def glances(content: SegmentationContent) -> list[Glance]:
    """The numbers that the page opens with."""
    whole = len(content.instances) - content.num_at_border
    found = [
        Glance(
            title="Instances",
            number=f"{len(content.instances):,}",
            unit="",
            sentence=f"{whole:,} whole, {content.num_at_border:,} cut by the volume's border.",
        ),
        Glance(
            title="Volume fraction",
            number=f"{100 * content.volume_fraction:.1f}",
            unit="%",
            sentence="Of all voxels, those that lie in an instance.",
        ),
    ]
    if content.density_um3 is not None:
        found.append(
            Glance(
                title="Density",
                number=three_figures(content.density_um3),
                unit="per µm³",
                sentence=f"In {three_figures(content.volume_um3)} µm³; those at the border count "
                "whole, which is too many for thin volumes.",
            )
        )
    return [*found, *_median_glance(content)]


def _median_glance(content: SegmentationContent) -> list[Glance]:
    volumes = sorted(
        row.volume for row in content.instances if row.volume is not None and not row.at_border
    )
    if not volumes:
        return []
    middle = len(volumes) // 2
    median = (volumes[middle] + volumes[-1 - middle]) / 2
    return [
        Glance(
            title="Median volume",
            number=three_figures(median),
            unit="µm³" if content.voxel_size_nm else "voxels",
            sentence=f"Of the {len(volumes):,} that were seen whole.",
        )
    ]
