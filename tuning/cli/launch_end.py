"""How a launch ends: what it says, or one object of JSON for a program, and the exit code."""

import sys
from collections import Counter
from typing import Any, get_args

from losstune.tuning.cli.ends import leave, print_json
from losstune.tuning.commands.launch import Outcome
from losstune.tuning.show.status import status_json
from losstune.tuning.study.lost_trials import in_vain, in_vain_text
from losstune.tuning.study.trial import EndState, cause_of
from losstune.tuning.track.tracking_uri import is_server, tracking_option


def end_launch(outcome: Outcome, at: str, tracking_uri: str | None, *, quiet: bool, as_json: bool) -> None:
    """Say how a launch ended.

    Args:
        at: the options that bring a command to the study's place.
        tracking_uri: MLflow's store, as it was given.

    Raises:
        typer.Exit: with 1 where no trial of a loss succeeded, with 130 or 143 after a signal.
    """
    at += tracking_option(tracking_uri)
    name, trials = outcome.study.spec.name, {} if outcome.stopped else outcome.study.trials()
    lost: list[str] = []
    if outcome.stopped:
        print(f"Stopped; the same command continues study {name}", file=sys.stderr)
        code, steps = outcome.stopped.exit_code, [f"losstune launch --study {name}{at}"]
    else:
        lost = in_vain(trials)
        code = 1 if lost else 0
        ui = [] if is_server(tracking_uri) else [f"losstune ui{at}"]
        steps = [f"losstune confirm {name}{at}", *ui] if len(lost) < len(trials) else []
    if lost:
        print(f"error: {in_vain_text(outcome.study, trials)}", file=sys.stderr)
    if as_json:
        print_json(outcome, _search_json(outcome), code, steps[:1], at)
    elif steps and not outcome.stopped and not quiet:
        print(f"Next: {'    '.join(steps)}")
    leave(outcome, code, at, quiet=quiet)


def _search_json(outcome: Outcome) -> dict[str, Any]:
    """The states of all trials, how many ended for which reason, and what is best."""
    status = status_json(outcome.study)
    losses = status["losses"]
    for own in losses.values():
        trials = own.pop("trials")
        own["reasons"] = {
            state: dict(Counter(cause_of(trial["reason"]) for trial in trials if trial["state"] == state))
            for state in get_args(EndState)
        }
    return {"study": status["study"], "losses": losses, "best": status["best"], "dropped": status["dropped"]}
