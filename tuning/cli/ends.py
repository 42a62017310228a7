"""How a command that trains for a while ends, a launch or a confirmation: its console, its JSON, its exit code."""

import json
import signal
import sys
from typing import Any, Protocol

import typer
from rich.console import Console

from losstune.trainer.base.signals import StopRequest
from losstune.trainer.base.waiting import bars_shown
from losstune.tuning.study.study import Study


class Ended(Protocol):
    """A launch, or a confirmation."""

    @property
    def study(self) -> Study:
        """As it is now."""

    @property
    def stopped(self) -> StopRequest:
        """False where no signal came."""

    @property
    def tracked(self) -> bool:
        """Whether MLflow has all of it."""


def console_of(context: typer.Context, *, quiet: bool, as_json: bool) -> Console:
    """Where a command prints what goes on meanwhile: with ``--json`` standard output is the object's alone."""
    context.with_resource(bars_shown(not quiet))
    return Console(quiet=quiet, stderr=as_json)


def print_json(ended: Ended, told: dict[str, Any], code: int, steps: list[str], at: str) -> None:
    """Print one object for a program.

    Args:
        told: what the command has to tell of its own.
        code: the exit code.
        steps: the commands that come next; one more brings MLflow what it lacks.
        at: the options that bring a command to the study's place, and to MLflow's store.
    """
    signum = ended.stopped.signum
    end = {
        "stopped": signal.Signals(signum).name if signum else None,
        "mlflow_complete": ended.tracked,
        "exit_code": code,
        "next": steps if ended.tracked else [*steps, f"losstune sync {ended.study.spec.name}{at}"],
    }
    print(json.dumps(told | end, indent=2))


def leave(ended: Ended, code: int, at: str, *, quiet: bool) -> None:
    """End the command, with this exit code; ``at`` as of :func:`print_json`.

    Raises:
        typer.Exit: the code is not 0.
    """
    if quiet and not ended.tracked:  # all else that says so went to a console that prints nothing
        name = ended.study.spec.name
        print(f"MLflow lacks a part of study {name}: losstune sync {name}{at}", file=sys.stderr)
    if code:
        raise typer.Exit(code)
