"""Confirms a study: its best settings again with fresh seeds, one pick a loss, one look at the test split."""

from dataclasses import dataclass

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import make_folder
from losstune.trainer.base.signals import StopRequest
from losstune.trainer.data.column_names import Columns
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.sources import Source
from losstune.tuning.commands.studies import held, released, taken_up
from losstune.tuning.confirm.confirm_runs import ConfirmRun, failed_runs, runs_of
from losstune.tuning.confirm.plan import (
    Plan,
    is_finished,
    make_plan,
    plans,
    save_plan,
    saw_test_rows,
    with_smallest,
)
from losstune.tuning.confirm.scoring import score_plan
from losstune.tuning.confirm.small_trials import models_of, smallest_within
from losstune.tuning.confirm.validated import score_validation
from losstune.tuning.execute.confirm_tasks import ConfirmTasks
from losstune.tuning.execute.session import Execution, Session, caught_up, session
from losstune.tuning.show.confirm_progress import ConfirmProgress
from losstune.tuning.storage.home import Home
from losstune.tuning.study.audit import audited_trials
from losstune.tuning.study.kept_data import study_pairs
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import ranked
from losstune.tuning.study.versions import check_versions
from losstune.tuning.track.tracking_uri import tracking_uri_of


@dataclass(frozen=True)
class ConfirmRequest:
    """What ``losstune confirm`` was asked to do; ``data`` and ``columns`` say where its data is now.

    With a ``margin`` the cheapest trial of the search that is within it of the best is confirmed too. ``early``: what
    has clearly lost in validation gets no more seeds.
    """

    name: str
    home: Home
    top: int
    seeds: int
    execution: Execution
    accept_change: bool = False
    data: Source | None = None
    columns: Columns = None
    margin: float | None = None
    early: bool = False


@dataclass(frozen=True)
class Confirmed:
    """How a confirmation ended: its plan, the signal that stopped it if one did, whether MLflow has all of it.

    ``margin`` is that of the request.
    """

    study: Study
    plan: Plan
    stopped: StopRequest
    tracked: bool
    margin: float | None = None


def confirm(request: ConfirmRequest, console: Console) -> Confirmed:
    """Confirm a study, or go on with a confirmation that was interrupted: the same command.

    Raises:
        UserError: no such study, other data than it was tuned on, nothing to confirm.
    """
    tracking_uri_of(request.home, request.execution.tracking_uri)
    with held(request.home, request.name) as study:
        pairs = study_pairs(study, request.data, request.columns)
        if pairs.digest != study.spec.data_digest:
            raise UserError(
                f"{pairs.source} is not the data of study {request.name!r}: "
                f"SHA-256 {study.spec.data_digest[:12]} in the study, {pairs.digest[:12]} now"
            )
        study = taken_up(study, pairs, console)
        audited_trials(study)  # settings are chosen by these numbers
        plan = _plan(study, request, pairs, console)
        running = _gone_on(study, plan, pairs, request.execution, console)
    return Confirmed(released(study, request.home), plan, running.stop, running.tracked, request.margin)


def _gone_on(study: Study, plan: Plan, pairs: Pairs, execution: Execution, console: Console) -> Session:
    """Do what a plan lacks: train what has no end or has failed, score, and bring MLflow up to date."""
    failed = failed_runs(study, plan)
    if is_finished(study, plan):
        say(console, f"Confirmation {plan.number} of study {study.spec.name} has its {plan.seeds} seeds already")
        _say_failed(failed, console)
        return caught_up(study, execution, "confirm", console)
    runs = runs_of(study, plan, again=True)
    left = [run for run in runs if run.is_to_be_trained]
    if not left:  # stopped after the last run
        _score(study, plan, pairs, console)
        return caught_up(study, execution, "confirm", console)
    if failed:
        say(console, f"Runs that failed are trained again: {len(failed)}, the first one {failed[0].name}")
    with session(study, pairs, execution, "confirm", len(left), console) as running:
        _train(study, plan, runs, left, running, console)
        if not running.stop:
            _score(study, plan, pairs, console)
            _say_failed(failed_runs(study, plan), console)
    return running


def _say_failed(failed: list[ConfirmRun], console: Console) -> None:
    if failed:
        said = f"Runs that failed: {len(failed)}, the first one {failed[0].name}. Their settings are not compared; "
        say(console, said + "a confirmation with more seeds trains them again")


def _plan(study: Study, request: ConfirmRequest, pairs: Pairs, console: Console) -> Plan:
    """The last plan if it has the same wish, else a new one, in place of one that saw no test row yet."""
    known = list(plans(study))
    fresh = make_plan(
        study,
        len(known) + 1,
        request.top,
        request.seeds,
        request.execution.resources.cpus_per_trial,
        split_given=pairs.fixes_validation,
    )
    if request.margin is not None:
        fresh = _with_smallest(study, fresh, request.margin, pairs, request.execution.resources.cpus_per_trial, console)
    fresh = fresh.model_copy(update={"early": request.early})
    same = known and known[-1].seeds == request.seeds and known[-1].compares_now(study) == fresh.compares_now(study)
    if same and is_finished(study, known[-1]) and (fresh.early or not known[-1].early):  # it has these seeds, or more
        return known[-1]
    same = same and (known[-1].margin, known[-1].early) == (fresh.margin, fresh.early)
    if known:  # its runs are used again
        what = f"confirmation {known[-1].number} of study {request.name!r}"
        change = check_versions(what, known[-1].versions, accepted=request.accept_change)
        fresh = fresh.model_copy(update={"changes": [*known[-1].changes, *([change] if change else [])]})
    if same and fresh.versions == known[-1].versions:
        return known[-1]
    if known and not saw_test_rows(study, known[-1]):
        if not same:
            say(
                console,
                f"Confirmation {known[-1].number} (top {known[-1].top}, {known[-1].seeds} seeds) was not finished and "
                "saw no test row; this one takes its place and keeps its runs",
            )
        fresh = fresh.model_copy(update={"number": known[-1].number})
    save_plan(study, fresh)
    return fresh


def _with_smallest(study: Study, plan: Plan, margin: float, pairs: Pairs, threads: int, console: Console) -> Plan:
    """Add the trial of the smallest model that may be as good as the best one's, and say which that is."""
    trials = [trial for loss, own in study.trials().items() if loss in plan.losses for trial in own]
    models = models_of(study, trials, (tuple(pairs.inputs.shape[1:]), int(pairs.targets.shape[1])))
    small = smallest_within(models, margin)
    if small is None:
        wider, best = with_smallest(study, plan, None, margin, threads), ranked(trials)[0]
        say(console, f"--smallest: no trial within {margin:g} of the best one, {best.name}, is smaller")
        return wider
    wider, best_model = with_smallest(study, plan, small.trial, margin, threads), models[0]
    cut = f" cut to {small.dims} of {best_model.dims} dimensions" if small.dims < best_model.dims else ""
    say(
        console,
        f"--smallest: {small.trial.name}{cut} {'is' if wider.arms == plan.arms else 'comes'} among the settings to "
        f"train: {small.parameters:,} parameters to the {best_model.parameters:,} of {best_model.trial.name}, "
        f"{small.value:.4f} to {best_model.value:.4f} in the search",
    )
    return wider


def _train(
    study: Study, plan: Plan, runs: list[ConfirmRun], left: list[ConfirmRun], running: Session, console: Console
) -> None:
    """Train the runs that are left."""
    from losstune.tuning.execute.asha import NoCuts
    from losstune.tuning.execute.task_searcher import TaskSearcher

    settings = study.spec.settings
    if plan.split_given:
        say(console, "The data brings its own split: seeds change weights and batches, not the validation rows")
    with ConfirmProgress(study.spec.name, settings.objective, settings.max_epochs, runs, console) as progress:
        tasks = ConfirmTasks(study, plan, left, progress, study.next_attempt())
        searcher = TaskSearcher(tasks, running.slots.concurrency)
        for run in left:
            make_folder(run.folder.parent)
        running.run(searcher, NoCuts(), over=lambda: bool(searcher.storage_error or study.store.lost))
    study.check_held()
    if searcher.storage_error:
        raise UserError(f"{searcher.storage_error}; the same command goes on once that is mended")


def _score(study: Study, plan: Plan, pairs: Pairs, console: Console) -> None:
    """Score every run on all validation rows, the picks, starts and baselines on the test split; keep the results."""
    score_validation(study, plan, pairs)
    before = score_plan(study, plan, pairs).test_uses_before
    if before:
        times = "once" if before == 1 else f"{before} times"
        say(
            console,
            f"The test split of this data was used {times} before by a confirmation in {study.home.where}: "
            "what was chosen after looking at it is no longer independent of it",
        )
