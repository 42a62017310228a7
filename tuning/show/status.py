"""What studies look like from outside: tables for people, plain values for programs."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from optuna.storages import BaseStorage
from rich.console import Console, Group
from rich.text import Text

from losstune.trainer.base.errors import UserError
from losstune.tuning.show.live import view_on
from losstune.tuning.show.progress import counted, counts_text, progress_table
from losstune.tuning.show.table import Column, Table, TableRow, TerminalTable
from losstune.tuning.storage.home import Home
from losstune.tuning.study.lost_trials import lost_trials, reasons_text
from losstune.tuning.study.study import Study, found_study
from losstune.tuning.study.trial import TrialView, best_trial

WATCH_SECONDS = 1.0


def status_table(study: Study, storage: BaseStorage | None = None) -> Group:
    """One row per loss, the one with the best trial first, and each loss's best setting.

    Args:
        storage: the study's, where it is open already.
    """
    name, storage = study.spec.name, storage or study.storage()
    running = "a launch is running" if study.home.trial_store(name).is_held() else "no launch is running"
    trials, settings = study.trials(storage), study.spec.settings
    progress = {study.spec.title(loss): counted(own) for loss, own in trials.items()}
    losses = dict(sorted(progress.items(), key=lambda item: item[1].best_value, reverse=True))
    table = progress_table(losses, settings, f"study {name}, {running}", 0)
    note = f"A trial's {settings.objective} is {settings.estimate}; a confirmation scores all"
    lines = [note] if settings.estimate else []
    if study.spec.warm_start:
        lines.append(f"Warm start: {study.spec.warm_start.text}")
    lines += [f"Dropped: {dropped}" for dropped in study.dropped(storage)]
    lost = [trial for own in trials.values() for trial in lost_trials(own)]
    lines += [f"Without a value: {reasons_text(study, lost)}"] if lost else []
    lines += _without_value(trial for own in trials.values() for trial in own)
    return Group(table, *map(Text, lines))


def watch_status(study: Study, console: Console, wait: Callable[[float], None] = time.sleep) -> None:
    """Show the status and keep it up to date until no launch holds the study: at once where none does.

    Args:
        wait: gets the seconds until it looks again.
    """
    is_held, storage = study.home.trial_store(study.spec.name).is_held, study.storage()
    view = view_on(console, lambda: status_table(study, storage), lambda: _status_lines(study, storage), reads=True)
    view.start()
    try:
        while is_held():
            wait(WATCH_SECONDS)
            view.changed()
    finally:
        view.stop()


def _status_lines(study: Study, storage: BaseStorage) -> Iterator[str]:
    """The counts of each loss in a plain line."""
    for loss, own in study.trials(storage).items():
        yield f"{study.spec.title(loss)}: {counts_text(counted(own), study.spec.settings)}"


def _without_value(trials: Iterable[TrialView]) -> list[str]:
    """What it means for Optuna's own tools that an earlier release told it no value of a pruned trial."""
    count = sum(trial.state == "pruned" and trial.value is None and trial.rank_value > -math.inf for trial in trials)
    if not count:
        return []
    return [
        f"An earlier release left {count} pruned trial{'s' * (count > 1)} without a value in Optuna's storage, which "
        "keeps an ended trial as it is: Optuna's dashboard and data frames show none of them, losstune counts all."
    ]


def status_json(study: Study) -> dict[str, Any]:
    """Everything about a study: settings, and every trial of every loss."""
    spec, storage = study.spec, study.storage()
    trials = study.trials(storage)
    best = best_trial(trial for own in trials.values() for trial in own)
    return {
        "study": spec.name,
        "running": study.home.trial_store(spec.name).is_held(),
        "data": study.data_source,
        "settings": spec.settings.model_dump(),
        "warm_start": spec.warm_start.model_dump() if spec.warm_start else None,
        "best": {**_trial_json(best), "loss": best.loss, "loss_fn": spec.loss_fns[best.loss]} if best else None,
        "dropped": [{**drop.to_dict(), "loss_fn": spec.loss_fns[drop.loss]} for drop in study.dropped(storage)],
        "losses": {loss: {"loss_fn": spec.loss_fns[loss], **_loss_json(own)} for loss, own in trials.items()},
    }


def _loss_json(trials: list[TrialView]) -> dict[str, Any]:
    progress = counted(trials)
    best = best_trial(trials)
    return {
        **{str(state): count for state, count in progress.states.items()},
        "epochs": progress.epochs,
        "best": _trial_json(best) if best else None,
        "trials": [_trial_json(trial) for trial in trials],
    }


def _trial_json(trial: TrialView) -> dict[str, Any]:
    ending = trial.ending
    return {
        "trial": trial.name,
        "state": trial.shown_state,
        "reason": ending.reason if ending else None,
        "epochs": trial.epochs,
        "value": ending.best if ending else None,
        "best_epoch": ending.best_epoch if ending else None,
        "setting": trial.point,
    }


def list_table(rows: list[dict[str, Any]], where: str) -> TerminalTable:
    """One row per study, of :func:`list_json`'s."""
    columns = [
        Column("study"),
        Column("created", words=True, spare=3),
        Column("losses", words=True, wraps=True, spare=2),
        Column("trials", spare=1),
        Column("best", words=True),
        Column("running", words=True, spare=1),
    ]
    return TerminalTable(Table(columns, [_list_row(row) for row in rows]), f"studies in {where}")


def _list_row(row: dict[str, Any]) -> TableRow:
    best = f"{row['best']:.4f} {row['best_trial']}" if row["best_trial"] else "-"
    running = "yes" if row["running"] else ""
    missing = "unreadable" if row["error"] else "elsewhere"
    trials = missing if row["trials"] is None else str(row["trials"])
    return TableRow(row["study"], [row["created"] or "-", ", ".join(row["losses"]), trials, best, running])


def list_json(home: Home) -> list[dict[str, Any]]:
    """One entry per study; of one whose trials are not where this place has them no more than its spec says.

    What can not be read of a study is said in its own entry, as its ``error``, and hides no other.

    Raises:
        UserError: the place can not be read, or the database of its studies' trials can not be reached.
    """
    return [_listed(home, name) for name in home.names()]


def _listed(home: Home, name: str) -> dict[str, Any]:
    keys = ("created", "trials", "best", "best_trial", "running", "error")
    row: dict[str, Any] = {"study": name, "losses": [], **dict.fromkeys(keys)}
    try:
        study = found_study(home, name)
    except UserError as error:
        return row | {"error": str(error)}
    row |= {"created": study.spec.created, "losses": list(study.spec.spaces)}
    try:
        return row if study.is_elsewhere else row | _trials_listed(study)
    except UserError as error:
        if home.database:
            home.database.storage()  # raises where it is down: the next study would tell no more, and take as long
        return row | {"error": str(error)}


def _trials_listed(study: Study) -> dict[str, Any]:
    trials = [trial for own in study.trials().values() for trial in own]
    best = best_trial(trials)
    return {
        "trials": len(trials),
        "best": best.rank_value if best else None,
        "best_trial": best.name if best else None,
        "running": study.store.is_held(),
    }
