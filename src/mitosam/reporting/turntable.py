"""A label volume in 3D that turns in the page: drawn beforehand, frame by frame.

The volume lies as it is looked at in a viewer, section 1 on top, and turns about its z axis. The
view has no perspective, so that one scale bar holds for all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from mitosam.errors import SettingsError
from mitosam.reporting.camera import Camera
from mitosam.reporting.colours import instance_colours, palette
from mitosam.reporting.drawing import ScaleBar, choose_scale_bar, choose_voxel_bar, webp_uri
from mitosam.reporting.shading import Scene, draw
from mitosam.reporting.surface import ReadSection, Thinned, Triple, find_surface, thin_out

_ELEVATION = float(np.radians(33))
_START = float(np.radians(-28))
_SUPERSAMPLING = 2
_SPACING_PX = 2.0  # of surface points on the supersampled canvas, where each covers 3 pixels
_MAX_PARTS = 6  # into which a voxel is cut along an axis for its points, where voxels are few
_MAX_SPREAD = 12
_MARGIN = 1.03
_MAX_ASPECT = 0.9
_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Turntable:
    """A full turn in equal steps, as data: addresses; without frames, `message` says why."""

    frames: tuple[str, ...]
    width: int
    height: int
    """Of a frame, in pixels."""
    colours: Mapping[int, str]
    """CSS colour of each label drawn; the smallest may fall through the drawing's grid."""
    scale_bar: ScaleBar
    """In a frame's pixels; in voxels where their size is unknown."""
    size: str
    """Of the volume, in words."""
    message: str = ""


def render_turntable(
    shape_zyx: tuple[int, int, int],
    read_section: ReadSection,
    *,
    voxel_size_nm: Triple | None = None,
    num_frames: int = 30,
    width_px: int = 720,
) -> Turntable:
    """All instances of a label volume, seen from `num_frames` sides.

    Sections are read one at a time, and only as many as are drawn. Without a voxel size, voxels
    are taken as cubes. An instance's colour depends on the order in which the instances appear
    in the volume, not on its label.
    """
    if num_frames < 1:
        raise SettingsError(f"num_frames must be at least 1, got num_frames={num_frames}")
    thinned = thin_out(shape_zyx, read_section, voxel_size_nm or (1.0, 1.0, 1.0))
    first = _first_view(thinned.extent_zyx, width_px * _SUPERSAMPLING)
    images = draw_turn(thinned, first, num_frames) if thinned.ids else ()
    frames = tuple(webp_uri(image, quality=_QUALITY) for image in images)
    bar = choose_scale_bar if voxel_size_nm else choose_voxel_bar
    return Turntable(
        frames=frames,
        width=first.width // _SUPERSAMPLING,
        height=first.height // _SUPERSAMPLING,
        colours=instance_colours(thinned.ids),
        scale_bar=bar(width_px, _SUPERSAMPLING / first.scale),
        size=describe_size(shape_zyx, voxel_size_nm),
        message="" if frames else "There is nothing to turn: the volume holds no instance.",
    )


def draw_turn(
    thinned: Thinned, first: Camera, num_frames: int
) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
    """The views of a full turn that starts with the first one, half as large as its canvas."""
    scene = _make_scene(thinned, first.scale)
    for azimuth in first.azimuth + np.arange(num_frames) * 2 * np.pi / num_frames:
        camera = replace(first, azimuth=float(azimuth))
        yield draw(scene, camera, supersampling=_SUPERSAMPLING)


def describe_size(shape_zyx: tuple[int, int, int], voxel_size_nm: Triple | None) -> str:
    """The volume's sides along x, y and z, in µm or in voxels."""
    times = " \N{MULTIPLICATION SIGN} "
    axes = f" ({times.join('xyz')})"
    if voxel_size_nm is None:
        return times.join(f"{side:,}" for side in shape_zyx[::-1]) + " voxels" + axes
    pairs = zip(shape_zyx[::-1], voxel_size_nm[::-1], strict=True)
    sides = times.join(f"{side * nm / 1000:.3g}" for side, nm in pairs)
    return f"{sides} µm{axes}"


def _make_scene(thinned: Thinned, scale: float) -> Scene:
    """The surfaces' points as dense as the canvas, of `scale` pixels a unit, can show."""
    from scipy.ndimage import gaussian_filter

    voxel = float(np.cbrt(np.prod(thinned.pitch_zyx)))
    spacing = max(_SPACING_PX / scale, voxel / _MAX_PARTS)
    z, y, x = thinned.extent_zyx
    covered = (thinned.labels > 0).any(axis=0).astype(np.float32)
    return Scene(
        surface=find_surface(thinned, spacing),
        colours=palette(len(thinned.ids)),
        extent_xyz=(x, y, z),
        shadow=gaussian_filter(covered, 2),
        spread=min(_MAX_SPREAD, int(np.ceil(spacing * scale / 2 - 1e-6))),
    )


def _first_view(extent_zyx: Triple, width: int) -> Camera:
    """The camera that holds the volume's box inside its canvas for a whole turn."""
    z, y, x = extent_zyx
    across = float(np.hypot(x, y)) * _MARGIN
    upright = float(np.sin(_ELEVATION) * across + np.cos(_ELEVATION) * z * _MARGIN)
    scale = min(width / across, _MAX_ASPECT * width / upright)
    height = int(np.ceil(upright * scale / _SUPERSAMPLING)) * _SUPERSAMPLING
    return Camera(azimuth=_START, elevation=_ELEVATION, scale=scale, height=height, width=width)
