"""How a confirmation ends: its answer, or one object of JSON for a program, and the exit code."""

import sys
from typing import Any

from rich.console import Console

from losstune.tuning.cli.ends import leave, print_json
from losstune.tuning.commands.confirm import Confirmed
from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.confirm_runs import ended_values, looked, runs_of
from losstune.tuning.confirm.sentences import answer_sentences
from losstune.tuning.show.comparison import show_answer
from losstune.tuning.study.trial import cause_of
from losstune.tuning.track.tracking_uri import tracking_option


def end_confirm(confirmed: Confirmed, at: str, tracking_uri: str | None, *, quiet: bool, as_json: bool) -> None:
    """Say how a confirmation ended, and what it found.

    Args:
        at: the options that bring a command to the study's place.
        tracking_uri: MLflow's store, as it was given.

    Raises:
        typer.Exit: with 130 or 143 after a signal.
    """
    logged = f"{at}{tracking_option(tracking_uri)}"
    name, plan = confirmed.study.spec.name, confirmed.plan
    if confirmed.stopped:
        print(f"Stopped; the same command continues the confirmation of study {name}", file=sys.stderr)
        code, steps = (
            confirmed.stopped.exit_code,
            [f"losstune confirm {name}{logged} {' '.join(plan.options)}"],
        )
    else:
        code = 0
        report, export = f"losstune report {name}{logged}", f"losstune export {name}{at}"
        steps = [f"{report} --output report.html", f"{export} --output best.yaml"]
        if not quiet:
            show_answer(compare(confirmed.study, confirmed.margin), Console(stderr=as_json), at)
    if as_json:
        print_json(confirmed, _confirmation_json(confirmed), code, steps, logged)
    elif not confirmed.stopped and not quiet:
        print(f"Next: {'    '.join(steps)}")
    leave(confirmed, code, logged, quiet=quiet)


def _confirmation_json(confirmed: Confirmed) -> dict[str, Any]:
    """How the runs of each setting ended, and the answer, once there is one."""
    settings: dict[str, dict[str, int]] = {}
    for run in runs_of(confirmed.study, confirmed.plan):
        result = run.result()
        own = settings.setdefault(run.arm.name, {})
        reason = cause_of(result.reason or result.end) if result else "to be trained"
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
