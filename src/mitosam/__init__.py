"""Fine-tune the Segment Anything Model on mitochondria in EM, and see what it gained.

Each command is a function of the same name here. They are imported when they are first asked for,
so that importing the package stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mitosam.config import RunSettings, override_settings, resolve_settings
    from mitosam.errors import MitosamError
    from mitosam.inference.decode import Prediction
    from mitosam.inference.predictor import Predictor
    from mitosam.io.open import open_volume
    from mitosam.models.load import load_model
    from mitosam.prompts import Prompts
    from mitosam.workflows.ablate import AblationResult, ablate
    from mitosam.workflows.automatic_results import AutomaticScore
    from mitosam.workflows.demo import demo
    from mitosam.workflows.doctor import Examination, doctor
    from mitosam.workflows.evaluate import Evaluation, evaluate
    from mitosam.workflows.evaluate_automatic import evaluate_automatic
    from mitosam.workflows.evaluate_clicks import evaluate_clicks
    from mitosam.workflows.export import export
    from mitosam.workflows.export_rdf import PackageFacts
    from mitosam.workflows.fetch import fetch_dataset
    from mitosam.workflows.finetune import FinetuneResult, finetune
    from mitosam.workflows.head import train_head
    from mitosam.workflows.info import info
    from mitosam.workflows.measure import MeasureResult, measure
    from mitosam.workflows.plan import Plan, plan
    from mitosam.workflows.predict import PredictionResult, predict
    from mitosam.workflows.prepare import Sources, prepare
    from mitosam.workflows.report import report
    from mitosam.workflows.runs import Run
    from mitosam.workflows.segment import SegmentResult, segment
    from mitosam.workflows.study import Study, read_study
    from mitosam.workflows.train import train
    from mitosam.workflows.transfer import transfer, transfer_dataset
    from mitosam.workflows.tuned_model import UsableModel, load_predictor, load_tuned_model
    from mitosam.workflows.views import views

__version__ = "0.1.0"

__all__ = [
    "AblationResult",
    "AutomaticScore",
    "Evaluation",
    "Examination",
    "FinetuneResult",
    "MeasureResult",
    "MitosamError",
    "PackageFacts",
    "Plan",
    "Prediction",
    "PredictionResult",
    "Predictor",
    "Prompts",
    "Run",
    "RunSettings",
    "SegmentResult",
    "Sources",
    "Study",
    "UsableModel",
    "__version__",
    "ablate",
    "demo",
    "doctor",
    "evaluate",
    "evaluate_automatic",
    "evaluate_clicks",
    "export",
    "fetch_dataset",
    "finetune",
    "info",
    "load_model",
    "load_predictor",
    "load_tuned_model",
    "measure",
    "open_volume",
    "override_settings",
    "plan",
    "predict",
    "prepare",
    "read_study",
    "report",
    "resolve_settings",
    "segment",
    "train",
    "train_head",
    "transfer",
    "transfer_dataset",
    "views",
]

_HOMES = {
    "config": ("RunSettings", "override_settings", "resolve_settings"),
    "errors": ("MitosamError",),
    "inference.decode": ("Prediction",),
    "inference.predictor": ("Predictor",),
    "io.open": ("open_volume",),
    "models.load": ("load_model",),
    "prompts": ("Prompts",),
    "workflows.ablate": ("AblationResult", "ablate"),
    "workflows.automatic_results": ("AutomaticScore",),
    "workflows.demo": ("demo",),
    "workflows.doctor": ("Examination", "doctor"),
    "workflows.evaluate": ("Evaluation", "evaluate"),
    "workflows.evaluate_automatic": ("evaluate_automatic",),
    "workflows.evaluate_clicks": ("evaluate_clicks",),
    "workflows.export": ("export",),
    "workflows.export_rdf": ("PackageFacts",),
    "workflows.fetch": ("fetch_dataset",),
    "workflows.finetune": ("FinetuneResult", "finetune"),
    "workflows.info": ("info",),
    "workflows.measure": ("MeasureResult", "measure"),
    "workflows.plan": ("Plan", "plan"),
    "workflows.predict": ("PredictionResult", "predict"),
    "workflows.prepare": ("Sources", "prepare"),
    "workflows.report": ("report",),
    "workflows.head": ("train_head",),
    "workflows.runs": ("Run",),
    "workflows.segment": ("SegmentResult", "segment"),
    "workflows.study": ("Study", "read_study"),
    "workflows.train": ("train",),
    "workflows.transfer": ("transfer", "transfer_dataset"),
    "workflows.tuned_model": ("UsableModel", "load_predictor", "load_tuned_model"),
    "workflows.views": ("views",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
