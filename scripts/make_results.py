"""Run the experiments of docs/results on real data, and write their pages.

make results
python scripts/make_results.py ../shared/data

Each experiment has a folder in runs/results. One that is finished is not run again, and one that
was killed goes on where it was. What a page shows of an experiment is kept in
docs/results/records, so that `--only` some are run anew and the pages keep the others. `--quick`
tries it all in minutes on made-up data, and writes into runs/results-quick alone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from mitosam.cli.screen import ScreenProgress, show_logs
from mitosam.data.phantom import make_phantom
from mitosam.errors import InputNotFoundError, MitosamError, SettingsError
from mitosam.io.write import write_stack_tiff
from mitosam.workflows.runs import Run
from results_experiments import Data, Experiment, Tune, experiments
from results_pages import write_pages
from results_records import Record, read_records, write_record

ROOT = Path(__file__).parents[1]
CURVE_SECTIONS = (1, 2, 4, 8, 16, 64)
POOL = 128  # sections that may be annotated for the learning curve
QUICK = (
    *("training.epochs=1", "training.min_steps=4", "training.min_views=4"),
    *("training.validations=1", "evaluation.max_sections=1"),
    *("head.steps=4", "head.width=4", "head.crop_px=64"),
)


def real_data(folder: Path) -> tuple[Data, Data]:
    """EPFL and SBEM, which `folder` holds."""
    epfl = Data(
        folder=folder,
        images="epfl/training.tif",
        masks="epfl/training_groundtruth.tif",
        train="1-124",
        validation="125-128",
        test="133-165",
        voxel_size_nm=(5.0, 5.0, 5.0),
    )
    sbem = Data(
        folder=folder,
        images="sbem/images",
        masks="sbem/labels",
        train="1-10",
        validation="11-12",
        test="15-20",
    )
    return epfl, sbem


def require_files(*volumes: Data) -> None:
    """That they are there.

    Raises
    ------
    InputNotFoundError
        One is not.
    """
    for data in volumes:
        for name in (data.images, data.masks):
            if not (data.folder / name).exists():
                raise InputNotFoundError(
                    f"{data.folder / name} does not exist; the results need the EPFL and SBEM "
                    "volumes (docs/results/README.md says where they are from), so give the "
                    "folder that holds epfl/ and sbem/"
                )


def made_up_data(folder: Path) -> tuple[Data, Data]:
    """Two small phantoms in the place of the real volumes."""
    found = []
    for seed, name in enumerate(("first", "second")):
        phantom = make_phantom((12, 256, 256), seed)
        data = Data(
            folder=folder,
            images=f"{name}.tif",
            masks=f"{name}_masks.tif",
            train="1-6",
            validation="7",
            test="10-12",
        )
        write_stack_tiff(folder / data.images, phantom.images, phantom.voxel_size_nm)
        labels = phantom.labels.astype(np.uint16)
        write_stack_tiff(folder / data.masks, labels, phantom.voxel_size_nm)
        found.append(data)
    return found[0], found[1]


def run_all(
    plan: list[Experiment],
    planned: list[Experiment],
    runs: Path,
    docs: Path,
    console: Console,
) -> None:
    """Run what is not finished, and write the pages on all records after each that ends."""
    progress = ScreenProgress(console)
    for number, experiment in enumerate(plan, start=1):
        folder = runs / experiment.name
        console.rule(f"{number} of {len(plan)}: {experiment.name}")
        if is_finished(folder):
            console.print("finished before")
        else:
            if not isinstance(experiment, Tune):
                shutil.rmtree(folder, ignore_errors=True)  # scoring anew; embeddings are kept
            experiment.run(folder, progress)
        record = Record.of(experiment.name, experiment.command(), Run.open(folder))
        write_record(docs, record)
        write_pages(docs, read_records(docs, [one.name for one in planned]), planned)


def chosen(plan: list[Experiment], only: str | None) -> list[Experiment]:
    """The experiments named, in the plan's order; all of them if none is named.

    Raises
    ------
    SettingsError
        One of the names is none.
    """
    names = set((only or "").split(",")) - {""}
    unknown = names - {one.name for one in plan}
    if unknown:
        raise SettingsError(
            f"--only must name experiments ({', '.join(one.name for one in plan)}), "
            f"got {sorted(unknown)[0]!r}"
        )
    return [one for one in plan if not names or one.name in names]


def is_finished(folder: Path) -> bool:
    """Whether the report, which is written last, is there."""
    return (folder / "report.html").exists()


def main() -> None:
    """Run everything; what a user can mend is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", nargs="?", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--quick", action="store_true", help="try it on made-up data")
    parser.add_argument("--only", help="names of experiments, as sbem-default,curve-4")
    options = parser.parse_args()
    console = Console(stderr=True)
    show_logs(console, verbose=False)
    try:
        if options.quick:
            runs = ROOT / "runs" / "results-quick"
            epfl, sbem = made_up_data(runs / "data")
            sbem = replace(sbem, train="1-5", validation="6")
            plan, docs = experiments(epfl, sbem, (1, 2), 7, QUICK), runs / "docs"
        else:
            runs, docs = ROOT / "runs" / "results", ROOT / "docs" / "results"
            epfl, sbem = real_data(options.data)
            require_files(epfl, sbem)
            plan = experiments(epfl, sbem, CURVE_SECTIONS, POOL)
        run_all(chosen(plan, options.only), plan, runs, docs, console)
    except MitosamError as error:
        console.print(f"error: {error}", markup=False, soft_wrap=True, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
