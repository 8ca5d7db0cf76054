"""One of several processes that train a tiny model together: started by torchrun, with a folder.

What happened is written there; the folder `resumed` may hold a checkpoint to go on from.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mitosam.models.promptable import hash_weights
from mitosam.ranks import current, join, leave
from mitosam.training.parts import choose_parts
from mitosam.training.settings import TrainingSettings
from mitosam.training.trainer import train
from tests.models.tiny_models import make_tiny_vit_sam
from tests.training.tiny_examples import INPUT_PX, disc_labels, make_example, make_examples
from tests.training.tiny_trainings import Killer

# Three tiles a step on two processes: the shares differ. One tile is empty.
EXAMPLES = [*make_examples(4), make_example(np.zeros_like(disc_labels(0, 64)), patch_px=32)]
VALIDATION = make_examples(3, start=50)
SETTINGS = TrainingSettings(
    parts=("mask_decoder",),
    epochs=1,
    min_steps=6,
    batch_tiles=3,
    validations=2,
    prompts_per_tile=4,
    learning_rate=1e-3,
    max_corrections=2,
)
STOPPED_AT = 4


def run(folder, settings=SETTINGS, **options):
    """The trained model and its training."""
    model = make_tiny_vit_sam(0, INPUT_PX)
    result = train(
        model,
        choose_parts(model, settings, seed=0),
        EXAMPLES,
        VALIDATION,
        settings,
        seed=0,
        checkpoint=folder / "checkpoint.safetensors",
        **options,
    )
    return model, result


def write(folder, model, result):
    """What was trained, once; and what each process says of it."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "curve": [dataclasses.asdict(point) for point in result.curve],
        "hash": hash_weights(model.state_dict().items()),
        "stopped": result.stopped_by_budget,
    }
    (folder / f"{current().index}.json").write_text(json.dumps(facts))
    if current().is_lead:
        weights = {n: t.contiguous().clone() for n, t in model.state_dict().items()}
        save_file(weights, folder / "weights.safetensors")


def meet(folder):
    """What the processes tell each other."""
    ranks = current()
    items = list(range(7))
    facts = {
        "index": ranks.index,
        "count": ranks.count,
        "together": ranks.put_together([10 * item for item in ranks.share(items)]),
        "agreed": ranks.agree(f"of {ranks.index}"),
        "total": ranks.total(ranks.index + 1),
        "led": ranks.led(lambda: [current().count, "alone"]),
        "gradients": add_up(ranks),
    }
    (folder / f"facts-{ranks.index}.json").write_text(json.dumps(facts))


def add_up(ranks):
    """Gradients of three parameters: of both processes, of the second, of none."""
    both, second, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    both.grad = torch.tensor([1.0, 2.0]) * (ranks.index + 1)
    if ranks.index == 1:
        second.grad = torch.tensor([5.0, 6.0])
    loss = ranks.add_up([both, second, none], 0.25)
    return [loss, both.grad.tolist(), second.grad.tolist(), none.grad is None]


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    join("cpu")
    meet(folder)
    write(folder / "plain", *run(folder / "plain"))
    write(folder / "accumulated", *run(folder / "accumulated", accumulated()))
    write(folder / "resumed", *run(folder / "resumed"))
    # The second process's clock would never stop it.
    left = 0.0 if current().is_lead else 1e9
    write(folder / "stopped", *run(folder / "stopped", seconds_left=left))
    try:
        run(folder / "left", progress=Killer(STOPPED_AT))
    except KeyboardInterrupt:
        current().wait()
    leave()


def accumulated():
    return SETTINGS.model_copy(update={"accumulate": 2})


if __name__ == "__main__":
    main()
