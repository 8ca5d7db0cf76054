"""Instances in a glass box, lit from the upper left, as one picture on a clear background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from mitosam.reporting.camera import (
    NOTHING,
    Camera,
    depth_of,
    index_of,
    nearest_points,
    widen,
)
from mitosam.reporting.surface import Surface

_EDGE_OF_BOX, _BACKGROUND = -1, -2
_BOX_EDGES = [(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit]

# Right, down and away from the viewer.
_LIGHT = np.array([-0.42, -0.66, -0.62])
_HALFWAY = _LIGHT / np.linalg.norm(_LIGHT) + [0, 0, -1]
_AMBIENT, _DIFFUSE, _GLOSS = 0.42, 0.66, 0.20
_HAZE, _HAZE_STRENGTH = np.array([0.70, 0.73, 0.77]), 0.38
_LINE = 0.52
_FLOOR, _FLOOR_ALPHA, _SHADOW = 0.45, 0.10, 0.30
_OCCLUSION_PX, _OCCLUSION_STRENGTH = 18.0, 5.0
_OUTLINE = 0.42


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What is looked at: surfaces, each instance's sRGB colour, the box round them, its floor.

    `spread` is how many pixels each point grows to every side, and `shadow` how much of each place
    of the floor, in rows along y, lies below an instance.
    """

    surface: Surface
    colours: Float[np.ndarray, "instances 3"]
    extent_xyz: tuple[float, float, float]
    shadow: Float[np.ndarray, "rows columns"]
    spread: int = 1

    @property
    def reach(self) -> float:
        """Half the box's diagonal."""
        return float(np.linalg.norm(self.extent_xyz)) / 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What each pixel shows: an instance from 0, an edge of the box or nothing, and how far away.

    `depth` runs from -1 to 1 in units of the scene's reach; `normals` are those of the pixels
    with an instance, in row order, in the camera's axes.
    """

    instance: Int[np.ndarray, "height width"]
    depth: Float32[np.ndarray, "height width"]
    normals: Float32[np.ndarray, "n 3"]


def draw(scene: Scene, camera: Camera, *, supersampling: int) -> UInt8[np.ndarray, "h w 4"]:
    """The scene as sRGB with alpha, the camera's canvas shrunk by `supersampling`."""
    seen = _look(scene, camera)
    canvas = np.zeros((camera.height, camera.width, 4), np.float32)
    edge = seen.instance == _EDGE_OF_BOX
    opacity = 0.65 - 0.30 * seen.depth[edge, None]
    canvas[edge] = np.concatenate([np.full((len(opacity), 3), _LINE) * opacity, opacity], axis=1)
    canvas[seen.instance >= 0] = _instance_colours(scene, seen)
    canvas = _shrink(canvas, supersampling)
    canvas += _floor(scene, camera.shrunk(supersampling)) * (1 - canvas[..., 3:])
    canvas[..., :3] /= np.maximum(canvas[..., 3:], 1e-6)
    return np.rint(255 * np.clip(canvas, 0, 1)).astype(np.uint8)


def _instance_colours(scene: Scene, seen: _Seen) -> Float32[np.ndarray, "n 4"]:
    solid = seen.instance >= 0
    colour = scene.colours[seen.instance[solid]] * _diffuse(seen.normals)
    colour *= (_occlusion(seen) * _outline(seen))[solid, None]
    colour = np.clip(colour + _gloss(seen.normals), 0, 1)
    far = _HAZE_STRENGTH * np.clip(seen.depth[solid] + 0.5, 0, 1)[:, None]
    opaque = np.ones((len(colour), 1))
    return np.concatenate([colour * (1 - far) + _HAZE * far, opaque], axis=1).astype(np.float32)


def _look(scene: Scene, camera: Camera) -> _Seen:
    surface = scene.surface
    shape = (camera.height, camera.width)
    reach = scene.reach * camera.scale
    facing = np.flatnonzero(surface.normals @ camera.axes[2].astype(np.float32) < 0.2)
    points = np.concatenate([surface.points[facing], _box_points(scene, camera)])
    nearest = nearest_points(camera.project(points), shape, reach=reach)
    for _ in range(scene.spread):
        nearest = widen(nearest)
    hit = nearest != NOTHING
    index = index_of(nearest[hit])
    on_instance = index < len(facing)
    chosen = facing[index[on_instance]]
    instance = np.full(shape, _BACKGROUND, np.int32)
    instance[hit] = _EDGE_OF_BOX
    instance[np.nonzero(hit)[0][on_instance], np.nonzero(hit)[1][on_instance]] = surface.instance[
        chosen
    ]
    depth = np.ones(shape, np.float32)
    depth[hit] = depth_of(nearest[hit], reach=reach) / reach
    normals = surface.normals[chosen] @ camera.axes.T.astype(np.float32)
    return _Seen(instance=instance, depth=depth, normals=normals)


def _box_points(scene: Scene, camera: Camera) -> Float32[np.ndarray, "n 3"]:
    """Points along the box's twelve edges, close enough to be drawn as lines."""
    corners = np.array([[i >> axis & 1 for axis in range(3)] for i in range(8)]) - 0.5
    corners = corners * scene.extent_xyz
    lines = []
    for start, end in _BOX_EDGES:
        num = int(np.linalg.norm(corners[end] - corners[start]) * camera.scale) + 2
        lines.append(np.linspace(corners[start], corners[end], num, dtype=np.float32))
    return np.concatenate(lines)


def _floor(scene: Scene, camera: Camera) -> Float32[np.ndarray, "height width 4"]:
    """The box's floor with the instances' shadow; colours are premultiplied by alpha."""
    x_size, y_size, z_size = scene.extent_xyz
    right = (np.arange(camera.width) + 0.5 - camera.width / 2) / camera.scale
    down = (np.arange(camera.height) + 0.5 - camera.height / 2) / camera.scale
    along = (down - np.cos(camera.elevation) * z_size / 2) / np.sin(camera.elevation)
    cos_a, sin_a = np.cos(camera.azimuth), np.sin(camera.azimuth)
    x = (cos_a * right - sin_a * along[:, None]) / x_size + 0.5
    y = (sin_a * right + cos_a * along[:, None]) / y_size + 0.5
    inside = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    rows, columns = scene.shadow.shape
    shade = scene.shadow[(y[inside] * rows).astype(int), (x[inside] * columns).astype(int)]
    opacity = np.zeros(inside.shape, np.float32)
    opacity[inside] = _FLOOR_ALPHA + _SHADOW * shade
    canvas = np.zeros((*inside.shape, 4), np.float32)
    canvas[inside, :3] = (_FLOOR * _FLOOR_ALPHA * (1 - _SHADOW * shade))[:, None]
    canvas[..., 3] = opacity
    return canvas


def _diffuse(normals: Float32[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 1"]:
    lambert = np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    skylight = 0.10 * -normals[:, 1]
    light: Float[np.ndarray, "n 1"] = (_AMBIENT + skylight + _DIFFUSE * lambert)[:, None]
    return light


def _gloss(normals: Float32[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 1"]:
    cosine = np.clip(normals @ (_HALFWAY / np.linalg.norm(_HALFWAY)), 0, 1)
    gloss: Float[np.ndarray, "n 1"] = (_GLOSS * cosine**32)[:, None]
    return gloss


def _occlusion(seen: _Seen) -> Float32[np.ndarray, "height width"]:
    """Darker where the surroundings stand nearer to the viewer.

    Luft, Colditz, Deussen: Image Enhancement by Unsharp Masking the Depth Buffer (2006).
    """
    from scipy.ndimage import gaussian_filter

    step = 4  # what is blurred needs few pixels
    covered = (seen.instance[::step, ::step] >= 0).astype(np.float32)
    sigma = _OCCLUSION_PX / step
    weight = gaussian_filter(covered, sigma) + 1e-6
    around = gaussian_filter(seen.depth[::step, ::step] * covered, sigma) / weight
    height, width = seen.depth.shape
    around = around.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    shade: Float32[np.ndarray, "height width"] = 1 - np.clip(
        _OCCLUSION_STRENGTH * (seen.depth - around), 0, 0.45
    )
    return shade


def _outline(seen: _Seen) -> Float32[np.ndarray, "height width"]:
    """Darker along the rim of each instance, on the side of the nearer one."""
    rim = np.zeros(seen.depth.shape, np.bool_)
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            other = np.roll(seen.instance, shift, axis) != seen.instance
            rim |= other & (seen.depth < np.roll(seen.depth, shift, axis))
    return np.where(rim, np.float32(_OUTLINE), np.float32(1))


def _shrink(
    canvas: Float32[np.ndarray, "height width 4"], step: int
) -> Float32[np.ndarray, "h w 4"]:
    """The mean of each `step` x `step` pixels."""
    parts = [canvas[y::step, x::step] for y in range(step) for x in range(step)]
    total: Float32[np.ndarray, "h w 4"] = np.add.reduce(parts)
    return total / np.float32(step**2)
