"""Memory of a long session: clicks, accepted objects and undone ones all over a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.fresh import reply
from benchmarks.interactive_subject import points, write_stack
from mitosam.config import resolve_settings
from mitosam.errors import InputError
from mitosam.models.sam import Sam
from mitosam.ui.session.opening import open_session

EARLY_SHARE = 0.1


def measure(
    *, folder: str, images: str | None, masks: str | None, num_sections: int, clicks: int
) -> dict[str, Any]:
    """What the process holds after the first clicks, and after all of them."""
    home = Path(folder) / "interactive-memory"
    stack, truth = write_stack(home, images, masks, num_sections)
    settings = resolve_settings(overrides=[f"cache.folder={home / 'embeddings'}"])
    early_bytes = 0
    with patch.object(Sam, "encode", _made_up):
        session = open_session(stack, model="vit_t", out=home / "work", settings=settings)
        try:
            view = session.view(0)
            for number, (z, x, y) in enumerate(points(truth, clicks)):
                view.go(z)
                view.add_point(x, y)
                try:
                    view.accept()
                except InputError:  # nothing of the mask is free any more
                    view.clear()
                if number % 7 == 0:
                    view.undo()
                if number == int(clicks * EARLY_SHARE):
                    early_bytes = psutil.Process().memory_info().rss
            late_bytes = psutil.Process().memory_info().rss
        finally:
            session.close()
    return {
        "shape_zyx": session.shape_zyx,
        "clicks": clicks,
        "early_bytes": early_bytes,
        "late_bytes": late_bytes,
    }


def _made_up(sam: Sam, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C h w"]:
    """Embeddings without the encoder's time."""
    generator = torch.Generator().manual_seed(int(images.sum()) % 2**31)
    return torch.randn(len(images), *sam.embedding_shape, generator=generator)


if __name__ == "__main__":
    reply(measure)
