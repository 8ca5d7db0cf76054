"""The command line: one subcommand a workflow; every user error is one line and exit code 2."""

from mitosam.cli import ablate, datasets, doctor, evaluation, interactive, volumes  # noqa: F401  their commands join those of main
from mitosam.cli.main import app, main

__all__ = ["app", "main"]
