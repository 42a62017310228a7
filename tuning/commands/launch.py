"""One launch: puts study, searcher, scheduler, workers, tracker and display together."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import StopRequest
from losstune.trainer.data.column_names import ColumnNames, Columns, columns_of_roles
from losstune.trainer.data.leaks import findings
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.sources import DIGITS, Source, find_arrays
from losstune.trainer.run.show import say_notes
from losstune.tuning.commands.studies import held, other_study, released, taken_up
from losstune.tuning.execute.search_tasks import SearchTasks
from losstune.tuning.execute.session import Execution, Session, caught_up, session
from losstune.tuning.search.allocation import Turns
from losstune.tuning.search.rungs import Rungs
from losstune.tuning.show.progress import Progress
from losstune.tuning.space.feasibility import Space, check_against_data, load_spaces
from losstune.tuning.space.fitting import fitted
from losstune.tuning.space.merged import merged_settings
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.space.validation import with_queries
from losstune.tuning.space.warm_up import warm_up_notes
from losstune.tuning.storage.failures import STORAGE_FAILURES
from losstune.tuning.storage.home import Home
from losstune.tuning.study.audit import audited_trials
from losstune.tuning.study.continuation import continued
from losstune.tuning.study.grown import copy_trials
from losstune.tuning.study.kept_data import keep_arrays, study_pairs
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.lost_trials import failed_trials, given_up, given_up_text, try_again
from losstune.tuning.study.spec import WarmStart
from losstune.tuning.study.study import Study, create_study, study_exists, translating_failures
from losstune.tuning.study.warm_start import EARLIER_FILE, earlier_trials, gathered
from losstune.tuning.track.tracking_uri import tracking_uri_of


@dataclass(frozen=True)
class LaunchRequest:
    """What ``losstune launch`` was asked to do; ``options`` are study settings from the command line.

    ``retry_failed`` tries each failed trial again, as a new one with its settings. ``debug_nan`` has each trial that
    diverges say where; it is no part of the study. ``warm_start`` is another study, as ``named_study`` gives it.
    """

    spaces: Sequence[Space]
    data: Source | None
    name: str
    home: Home
    execution: Execution
    options: Mapping[str, Any] = field(default_factory=dict)
    time_budget: float | None = None
    accept_change: bool = False
    retry_failed: bool = False
    debug_nan: bool = False
    columns: Columns = None
    warm_start: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a launch ended: the study, the signal that stopped it if one did, whether MLflow has all of it."""

    study: Study
    stopped: StopRequest
    tracked: bool


def launch(request: LaunchRequest, console: Console) -> Outcome:
    """Start a study, or continue it: the same command.

    Raises:
        UserError: anything wrong in the request, before any training.
    """
    tracking_uri_of(request.home, request.execution.tracking_uri)
    with translating_failures(request.home, request.name):
        exists = study_exists(request.home, request.name)
    with _continued(request, console) if exists else _created(request, console) as (study, pairs):
        say_notes(pairs, study.spec.settings.seed, console)
        if study.spec.warm_start:
            say(console, f"Warm start: {study.spec.warm_start.text}")
        return _run(study, pairs, request, console)


@contextmanager
def _continued(request: LaunchRequest, console: Console) -> Iterator[tuple[Study, Pairs]]:
    with held(request.home, request.name) as study:
        went_on, pairs = as_continued(study, request)
        if went_on.spec.grown != study.spec.grown:
            audited_trials(study)  # nothing damaged is copied
            dropped = {drop.loss for drop in study.dropped()}
            for loss, count in copy_trials(study, went_on).items():
                trials = "1 trial goes" if count == 1 else f"{count} trials go"
                again = ", and it is in the race again" * (loss in dropped)
                say(console, f"Note: what is searched for {loss} grew; its {trials} on in it{again}")
        went_on.save()
        yield taken_up(went_on, pairs, console), pairs


def as_continued(study: Study, request: LaunchRequest) -> tuple[Study, Pairs]:
    """A study as this request continues it, not saved yet, and its data.

    Raises:
        UserError: the request asks for another study.
    """
    spaces = load_spaces(request.spaces, study.spec.search_spaces())
    pairs = study_pairs(study, request.data, request.columns)
    spaces, _ = fitted(spaces, study.spec.settings, pairs)  # as its first launch took them, and told
    went_on = continued(
        study,
        spaces,
        request.options,
        pairs.digest,
        warm_start=request.warm_start,
        accept_change=request.accept_change,
    )
    if went_on.spec.grown != study.spec.grown:
        check_against_data(spaces, went_on.spec.settings, pairs)
    return went_on, pairs


def warm_started(
    request: LaunchRequest, spaces: Sequence[SearchSpace], settings: StudySettings
) -> tuple[WarmStart | None, bytes]:
    """What a new study of this request takes over from another one, and the file of it.

    Raises:
        UserError: there is no such study, or nothing in it is of use.
    """
    if request.warm_start is None:
        return None, b""
    if request.warm_start == request.name:
        raise UserError(f"--warm-start {request.warm_start}: that is the study itself; name another one")
    other = other_study(request.home, request.warm_start)
    with translating_failures(other.home, other.spec.name):
        return gathered(other, request.warm_start, spaces, settings)


@contextmanager
def _created(request: LaunchRequest, console: Console) -> Iterator[tuple[Study, Pairs]]:
    """A new study; what is wrong with it is said before it has a folder."""
    spaces = load_spaces(request.spaces)
    if not spaces:
        raise UserError(f"study {request.name!r} is new: name at least one search space")
    settings = merged_settings(spaces, request.options)
    data = DIGITS if request.data is None else request.data
    pairs = load_pairs(data, request.columns, settings.new_rules())
    settings = settings.under(pairs.rules)
    spaces, notes = fitted(spaces, settings, pairs)
    for note in (*notes, *warm_up_notes(spaces, settings)):
        say(console, f"Note: {note}")
    check_against_data(spaces, settings, pairs)
    settings = with_queries(spaces, settings, pairs)
    warm_start, earlier = warm_started(request, spaces, settings)
    with request.home.locked(request.name) as home, translating_failures(home, request.name):
        if study_exists(home, request.name):
            raise UserError(f"study {request.name!r} was begun by another launch just now; the same command continues")
        source, columns = pairs.source, pairs.columns
        if isinstance(data, Mapping):
            found = find_arrays(data, ColumnNames.of(columns))
            source = keep_arrays(home.files(request.name), found.arrays)
            columns = columns_of_roles(found.arrays)
        if warm_start:
            files = home.files(request.name)
            files.write(files.folder / EARLIER_FILE, earlier)
        told = [finding.text for finding in findings(pairs, settings.seed)]
        yield create_study(home, request.name, spaces, settings, source, pairs.digest, columns, told, warm_start), pairs


def _run(study: Study, pairs: Pairs, request: LaunchRequest, console: Console) -> Outcome:
    trials = audited_trials(study)
    for own in trials.values():
        own.settle()
        if request.retry_failed:
            try_again(own, study.spec.settings.seed)
    hopeless = [own for own in trials.values() if given_up(own)]
    for own in hopeless:
        say(console, given_up_text(own.space.title, own))
    if not _has_work(trials, study.spec.settings):
        if others := [own for own in trials.values() if own not in hopeless]:
            each = f"each {'other ' * bool(hopeless)}loss"
            say(console, f"Study {study.spec.name} has used its budget of {study.spec.settings.budget} for {each}")
        if any(failed_trials(own) for own in others):
            say(console, "Failed trials are tried again with --retry-failed")
        idle = caught_up(study, request.execution, "search", console)
        return Outcome(released(study, request.home), idle.stop, idle.tracked)
    tasks = _tasks_left(trials, study.spec.settings)
    with session(study, pairs, request.execution, "search", tasks, console) as running:
        _search(study, trials, running, request, console)
    return Outcome(released(study, request.home), running.stop, running.tracked)


def _has_work(trials: dict[str, LossTrials], settings: StudySettings) -> bool:
    """Whether a loss has a trial to continue, or may start another."""
    unfinished = any(trial.ending is None for own in trials.values() for trial in own)
    return unfinished or Turns(trials, settings).next_loss([]) is not None


def _tasks_left(trials: dict[str, LossTrials], settings: StudySettings) -> int:
    """How many trials there are to train yet, at the least; a race may drop some."""
    unfinished = sum(trial.ending is None for own in trials.values() for trial in own)
    spent = [(sum(trial.spent for trial in own), len(own)) for own in trials.values() if not given_up(own)]
    return unfinished + sum(settings.budget.trials_left(*each, settings.max_epochs) for each in spent)


def _search(
    study: Study, trials: dict[str, LossTrials], running: Session, request: LaunchRequest, console: Console
) -> None:
    """Search until the budget, the time or a signal ends it; leaves no trial running."""
    from losstune.tuning.execute.asha import AshaScheduler
    from losstune.tuning.execute.task_searcher import TaskSearcher

    settings, place = study.spec.settings, running.slots
    rungs = {loss: Rungs(settings.rungs, settings.reduction_factor) for loss in trials}
    for loss, own in trials.items():
        rungs[loss].rebuild(list(own))
    deadline = time.monotonic() + (request.time_budget or math.inf)
    with Progress(study.spec.name, settings, console) as progress:
        tasks = SearchTasks(
            trials,
            settings,
            earlier_trials(study),
            settings.training(study.data_source, place.cpus, study.spec.columns),
            study.files,
            progress,
            study.next_attempt(),
            str(study.store),
            debug_nan=request.debug_nan,
        )
        searcher = TaskSearcher(tasks, place.concurrency)
        try:
            running.run(
                searcher,
                AshaScheduler(rungs, searcher.guarded(tasks.record_rung)),
                over=lambda: time.monotonic() > deadline or bool(searcher.storage_error or study.store.lost),
            )
        finally:
            timed_out = time.monotonic() > deadline and not running.stop
            with suppress(*STORAGE_FAILURES):  # the next launch settles what can not be written now
                tasks.wind_up(timed_out=timed_out)
    study.check_held()
    if searcher.storage_error:
        raise UserError(f"{searcher.storage_error}; the study waits, and the same command goes on once that is mended")
