"""What the canvas shows, as it is sent to the browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from mitosam.ui.browser.pictures import runs
from mitosam.ui.session.snapshot import Snapshot

Placed = tuple[int, int, Bool[np.ndarray, "h w"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAt:
    """A box to bring into sight; a new number asks for it anew."""

    number: int
    box_xyxy: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A snapshot, and what only one page has.

    `number` grows with each scene of a page, `answered` is the last message that it answers,
    `version` grows with each change of the labels shown, `selected` has the view's selection
    first, `cuts` are the places clicked to split an object.
    """

    number: int
    answered: int
    version: int
    snapshot: Snapshot
    tool: str
    selected: tuple[int, ...]
    cuts: tuple[tuple[float, float], ...]
    mask: Placed | None
    look_at: LookAt | None

    @property
    def ready(self) -> bool:
        """Whether clicks on this section are answered at once."""
        return self.snapshot.z in self.snapshot.embedded

    def to_json(self) -> dict[str, Any]:
        """What the viewer's `show` takes."""
        shown, draft = self.snapshot, self.snapshot.draft
        return {
            "answered": self.answered,
            "z": shown.z,
            "count": shown.num_sections,
            "shape": shown.shape_yx,
            "tool": self.tool,
            "ready": self.ready,
            "version": self.version,
            "objects": [[one.id, one.state == "proposed"] for one in shown.objects],
            "selected": self.selected,
            "points": draft.points,
            "box": draft.box_xyxy,
            "lasso": draft.lasso_xy,
            "cuts": self.cuts,
            "mask": None if self.mask is None else _mask_json(*self.mask),
            "look_at": self.look_at
            and {"number": self.look_at.number, "box": self.look_at.box_xyxy},
        }


def _mask_json(y: int, x: int, mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    height, width = mask.shape
    return {"x": x, "y": y, "width": width, "height": height, "runs": runs(mask)}
