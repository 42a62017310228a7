"""How launch and confirm end: what they say, or one object of JSON for a program, and the exit code."""

import json
import signal
import sys
from collections import Counter
from typing import Any

import typer
from rich.console import Console

from losstune.trainer.base.waiting import bars_shown
from losstune.tuning.commands.confirm import Confirmed
from losstune.tuning.commands.launch import Outcome
from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.confirm_runs import ended_values, looked, runs_of
from losstune.tuning.confirm.sentences import answer_sentences
from losstune.tuning.show.comparison import show_answer
from losstune.tuning.show.status import status_json
from losstune.tuning.study.lost_trials import in_vain, in_vain_text
from losstune.tuning.study.trial import cause_of


def console_of(context: typer.Context, *, quiet: bool, as_json: bool) -> Console:
    """Where a command prints what goes on meanwhile: with ``--json`` standard output is the object's alone."""
    context.with_resource(bars_shown(not quiet))
    return Console(quiet=quiet, stderr=as_json)


def end_launch(outcome: Outcome, at: str, *, quiet: bool, as_json: bool) -> None:
    """Say how a launch ended.

    Args:
        at: the options that bring a command to the study's place.

    Raises:
        typer.Exit: with 1 where no trial of a loss succeeded, with 130 or 143 after a signal.
    """
    name, trials = outcome.study.spec.name, {} if outcome.stopped else outcome.study.trials()
    lost: list[str] = []
    if outcome.stopped:
        print(f"Stopped; the same command continues study {name}", file=sys.stderr)
        code, steps = outcome.stopped.exit_code, [f"losstune launch --study {name}{at}"]
    else:
        lost = in_vain(trials)
        code = 1 if lost else 0
        steps = [f"losstune confirm {name}{at}", f"losstune ui{at}"] if len(lost) < len(trials) else []
    if lost:
        print(f"error: {in_vain_text(outcome.study, trials)}", file=sys.stderr)
    if as_json:
        _print_json(_search_json(outcome) | _end_json(outcome, code, [*steps[:1], *_sync(outcome, at)]))
    elif steps and not outcome.stopped and not quiet:
        print(f"Next: {'    '.join(steps)}")
    _leave(outcome, code, quiet)


def end_confirm(confirmed: Confirmed, at: str, *, quiet: bool, as_json: bool) -> None:
    """Say how a confirmation ended, and what it found; the arguments as of :func:`end_launch`.

    Raises:
        typer.Exit: with 130 or 143 after a signal.
    """
    name, plan = confirmed.study.spec.name, confirmed.plan
    if confirmed.stopped:
        print(f"Stopped; the same command continues the confirmation of study {name}", file=sys.stderr)
        code, steps = (
            confirmed.stopped.exit_code,
            [f"losstune confirm {name}{at} {' '.join(plan.options)}"],
        )
    else:
        code = 0
        steps = [f"losstune report {name}{at} --output report.html", f"losstune export {name}{at} --output best.yaml"]
        if not quiet:
            show_answer(compare(confirmed.study, confirmed.margin), Console(stderr=as_json), at)
    if as_json:
        _print_json(_confirmation_json(confirmed) | _end_json(confirmed, code, [*steps, *_sync(confirmed, at)]))
    elif not confirmed.stopped and not quiet:
        print(f"Next: {'    '.join(steps)}")
    _leave(confirmed, code, quiet)


def _search_json(outcome: Outcome) -> dict[str, Any]:
    """The states of all trials, how many ended for which reason, and what is best."""
    status = status_json(outcome.study)
    losses = status["losses"]
    for own in losses.values():
        trials = own.pop("trials")
        own["reasons"] = {
            state: dict(Counter(cause_of(trial["reason"]) for trial in trials if trial["state"] == state))
            for state in ("complete", "pruned", "failed")
        }
    return {"study": status["study"], "losses": losses, "best": status["best"], "dropped": status["dropped"]}


def _confirmation_json(confirmed: Confirmed) -> dict[str, Any]:
    """How the runs of each setting ended, and the answer, once there is one."""
    settings: dict[str, dict[str, int]] = {}
    for run in runs_of(confirmed.study, confirmed.plan):
        result = run.result()
        own = settings.setdefault(run.arm.name, {})
        reason = (result.reason or result.end) if result else "to be trained"
        own[reason] = own.get(reason, 0) + 1
    stops = looked(confirmed.plan, ended_values(confirmed.study, confirmed.plan)).stops
    told = {
        "study": confirmed.study.spec.name,
        "confirmation": confirmed.plan.number,
        "seeds": confirmed.plan.seeds,
        "settings": settings,
        "stopped_early": {name: {"seeds": stop.seeds, "lost_to": stop.better} for name, stop in stops.items()},
    }
    if confirmed.stopped:
        return {**told, "best": None, "answer": []}
    comparison = compare(confirmed.study, confirmed.margin)
    pick = comparison.pick(comparison.winner)
    best = {"trial": pick.name, "loss": pick.loss, "loss_fn": pick.loss_fn, "value": pick.validation}
    return {**told, "best": best, "answer": answer_sentences(comparison)}


def _end_json(ended: Outcome | Confirmed, code: int, steps: list[str]) -> dict[str, Any]:
    signum = ended.stopped.signum
    return {
        "stopped": signal.Signals(signum).name if signum else None,
        "mlflow_complete": ended.tracked,
        "exit_code": code,
        "next": steps,
    }


def _sync(ended: Outcome | Confirmed, at: str) -> list[str]:
    """What brings MLflow what it lacks."""
    return [] if ended.tracked else [f"losstune sync {ended.study.spec.name}{at}"]


def _print_json(told: dict[str, Any]) -> None:
    print(json.dumps(told, indent=2))


def _leave(ended: Outcome | Confirmed, code: int, quiet: bool) -> None:
    if quiet and not ended.tracked:  # all else that says so went to a console that prints nothing
        name = ended.study.spec.name
        print(f"MLflow lacks a part of study {name}; losstune sync brings it", file=sys.stderr)
    if code:
        raise typer.Exit(code)
