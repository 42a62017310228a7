"""The commands for programs and notebooks: the same as on the command line, called with arguments.

Whatever can be mended is a :class:`~losstune.LosstuneError` in the words of these arguments. A signal that stopped a
command is an exception once its state is safe: KeyboardInterrupt, or SystemExit after SIGTERM.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from losstune.trainer.base.argument_words import ProgramConsole, for_programs, in_argument_words
from losstune.trainer.base.plain import plain
from losstune.trainer.base.waiting import bars_shown
from losstune.trainer.data.column_names import Columns
from losstune.trainer.data.sources import Source
from losstune.tuning.commands.comparison_view import ComparisonView
from losstune.tuning.commands.confirm import ConfirmRequest
from losstune.tuning.commands.confirm import confirm as run_confirm
from losstune.tuning.commands.export import Exported
from losstune.tuning.commands.export import export as write_export
from losstune.tuning.commands.keyword_settings import check_settings, with_study_settings
from losstune.tuning.commands.launch import LaunchRequest
from losstune.tuning.commands.launch import launch as run_launch
from losstune.tuning.commands.report import Reported
from losstune.tuning.commands.report import report as write_report
from losstune.tuning.commands.studies import existing, named_study
from losstune.tuning.commands.study_view import StudyView
from losstune.tuning.commands.wishes import SEEDS, TOP, count_of, seconds_of, share_of
from losstune.tuning.confirm.compare import compare as compared
from losstune.tuning.confirm.margin import margin_of, smallest_margin
from losstune.tuning.execute.placement import Resources
from losstune.tuning.execute.session import Execution
from losstune.tuning.show.status import list_json
from losstune.tuning.space.feasibility import Space
from losstune.tuning.storage.home import STORAGE, STUDY_STORAGE, Home, home_at
from losstune.tuning.track.tracking_uri import TRACKING_URI

AnyPath = str | os.PathLike[str]
Share = float | Literal["auto"] | None


@with_study_settings
@for_programs
def launch(
    spaces: Space | Sequence[Space] = (),
    data: Source | None = None,
    *,
    study: str,
    columns: Columns = None,
    time_budget: str | float | None = None,
    concurrency: int | None = None,
    cpus_per_trial: int = 1,
    gpus_per_trial: Share = None,
    address: str | None = None,
    accept_change: bool = False,
    retry_failed: bool = False,
    debug_nan: bool = False,
    warm_start: StudyView | AnyPath | None = None,
    tracking_uri: str | None = None,
    system_metrics: bool = True,
    storage: AnyPath | None = None,
    study_storage: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> StudyView:
    """Start a study over one or more losses, or continue it: the same call.

    Args:
        spaces: search spaces, each of its loss's name or with a ``name`` of its own: shipped names, paths of YAML
            files, or what such a file says as a dict. To continue a study they may be left out.
        data: arrays by name (``inputs`` (N, …) and ``targets`` (N, d), optionally ``ids``, ``groups`` and ``split``
            (N,), and ``negatives`` if ``columns`` says so), which are then kept with the study; or ``digits``, a path,
            ``package.module:function``.
        study: its name.
        columns: names of the arrays where they differ, ``{"inputs": "anchor", "targets": "positive"}``.
        time_budget: stop after so many seconds, or after ``90s``, ``30m``, ``2h``.
        concurrency: trials at a time; None is as many as there is room for.
        cpus_per_trial: cores, and threads, of a trial.
        gpus_per_trial: share of a GPU; ``auto`` probes.
        address: a running Ray cluster to join.
        accept_change: go on with other versions of the libraries, or in a space that grew, and keep that on record.
        retry_failed: try failed trials again, once their cause is mended.
        debug_nan: of a trial that diverges, say where the first NaN or infinity arose; slower, with the same numbers.
        warm_start: another study, by name or by its folder: its trials that fit inform the proposals of a new one.
        tracking_uri: MLflow's store; None is ``mlflow.db`` in ``storage``.
        system_metrics: whether MLflow shows what each epoch took of CPU, memory and GPU.
        storage: folder, or ``s3://BUCKET/PREFIX``, that holds ``studies/``; None is the working directory.
        study_storage: ``postgresql://…`` that keeps the trials; None is SQLite in the study's folder.
        quiet: print nothing.
        settings: of the study, over what the spaces say: ``trials`` or ``epochs_per_loss``, ``max_epochs``,
            ``grace_epochs``, ``reduction_factor``, ``objective``, ``sampler``, ``seed``, ``race``,
            ``eval_queries``, ``split_by``, ``answers``.

    Raises:
        LosstuneError: anything wrong in what is asked for, before any training.
    """
    check_settings(settings)
    with _place(storage, study_storage) as (home, stack):
        uri = _uri(tracking_uri)
        resources = _resources(concurrency, cpus_per_trial, gpus_per_trial)
        request = LaunchRequest(
            spaces=[spaces] if isinstance(spaces, str | os.PathLike | Mapping) else list(spaces),
            data=data,
            name=study,
            home=home,
            execution=Execution(resources, address, uri, system_metrics, own_process=False),
            options={name: plain(value) for name, value in settings.items() if value is not None},
            time_budget=None if time_budget is None else seconds_of(time_budget),
            accept_change=accept_change,
            retry_failed=retry_failed,
            debug_nan=debug_nan,
            columns=columns,
            warm_start=_other(warm_start, home),
        )
        with _running(quiet) as console:
            outcome = run_launch(request, console)
        outcome.stopped.leave()
        return StudyView(existing(home, study, files=True), uri, stack.pop_all())


@for_programs
def open_study(
    name: str,
    *,
    storage: AnyPath | None = None,
    study_storage: str | None = None,
    tracking_uri: str | None = None,
) -> StudyView:
    """An existing study; the arguments as of :func:`launch`.

    Raises:
        LosstuneError: there is none of this name; says which there are.
    """
    with _place(storage, study_storage) as (home, stack):
        return StudyView(existing(home, name, files=True), _uri(tracking_uri), stack.pop_all())


@for_programs
def studies(*, storage: AnyPath | None = None, study_storage: str | None = None) -> list[dict[str, Any]]:
    """The studies of a place, by name: losses, number of trials, best value and trial, whether a launch is running.

    Of one that can not be read ``error`` says why, and what is not known is None.

    Raises:
        LosstuneError: the place can not be read, or the database of its studies' trials can not be reached.
    """
    with _place(storage, study_storage) as (home, _):
        return [row | {"error": row["error"] and in_argument_words(row["error"])} for row in list_json(home)]


@for_programs
def confirm(
    study: StudyView | str,
    *,
    top: int = TOP,
    seeds: int = SEEDS,
    smallest: bool = False,
    margin: float | None = None,
    early: bool = False,
    concurrency: int | None = None,
    cpus_per_trial: int = 1,
    gpus_per_trial: Share = None,
    address: str | None = None,
    accept_change: bool = False,
    system_metrics: bool = True,
    data: Source | None = None,
    columns: Columns = None,
    quiet: bool = False,
) -> ComparisonView:
    """Train each loss's best settings again with fresh seeds, and score the picks on the test split once.

    Interrupted, the same call goes on.

    Args:
        study: as :func:`launch` or :func:`open_study` gives it, or the name of one in the working directory.
        top: settings of each loss to train again.
        seeds: fresh seeds; claims need at least 10.
        smallest: also the trial of the smallest model whose search value is within ``margin`` of the best.
        margin: how much worse in the objective a smaller model may be to be as good; None is 0.02.
        early: whether settings that have clearly lost in validation get no more seeds.
        system_metrics: whether MLflow shows what each epoch took of CPU, memory and GPU.
        data, columns: the study's data, where it is elsewhere now.

    Raises:
        LosstuneError: other data than it was tuned on, or nothing to confirm.
    """
    top, seeds = count_of(top, "--top"), count_of(seeds, "--seeds", least=2)
    view = _view(study)
    resources = _resources(concurrency, cpus_per_trial, gpus_per_trial)
    execution = Execution(resources, address, view.tracking_uri, system_metrics, own_process=False)
    within = smallest_margin(smallest=smallest, margin=margin)
    home = view.stored.home
    request = ConfirmRequest(view.name, home, top, seeds, execution, accept_change, data, columns, within, early)
    with _running(quiet) as console:
        confirmed = run_confirm(request, console)
    confirmed.stopped.leave()
    return ComparisonView(**dict(compared(confirmed.study, confirmed.margin)))


@for_programs
def compare(study: StudyView | str, *, margin: float | None = None) -> ComparisonView:
    """Which loss, by how much and how sure, from the newest confirmation.

    Args:
        margin: as of :func:`confirm`; None is that of the confirmation, where it had one.

    Raises:
        LosstuneError: there is none.
    """
    return ComparisonView(**dict(compared(_read_anew(study), None if margin is None else margin_of(margin))))


@for_programs
def report(study: StudyView | str, output: AnyPath = "report.html") -> Reported:
    """Write the whole answer as one HTML file, which a notebook shows inside; a confirmed study's goes to MLflow too.

    Raises:
        LosstuneError: the file can not be written.
    """
    view = _view(study)
    return write_report(_read_anew(view), Path(output), view.tracking_uri)


@for_programs
def export(
    study: StudyView | str,
    output: AnyPath = "best.yaml",
    *,
    loss_fn: str | None = None,
    smallest: bool = False,
    margin: float | None = None,
) -> Exported:
    """Write the best setting, of all losses or of one by its name in the study, as a YAML that trains the final model.

    Args:
        smallest: in place of the best, the smallest confirmed model that is as good within ``margin``.
        margin: as of :func:`compare`.

    Raises:
        LosstuneError: there is nothing to export, or the file can not be written.
    """
    smallest_margin(smallest=smallest, margin=margin)
    return write_export(_read_anew(study), loss_fn, Path(output), smallest=smallest, margin=margin)


@contextmanager
def _place(storage: AnyPath | None, study_storage: str | None) -> Iterator[tuple[Home, ExitStack]]:
    """Where the studies are, and what holds it: kept by whoever takes over the stack, else closed."""
    with ExitStack() as stack:
        where = os.environ.get(STORAGE) or "." if storage is None else os.fspath(storage)
        yield stack.enter_context(home_at(where, study_storage or os.environ.get(STUDY_STORAGE) or None)), stack


def _resources(concurrency: int | None, cpus_per_trial: int, gpus_per_trial: Share) -> Resources:
    """What a trial gets, and how many at a time: with none at a time a launch would wait for ever."""
    return Resources(
        None if concurrency is None else count_of(concurrency, "--concurrency"),
        count_of(cpus_per_trial, "--cpus-per-trial"),
        None if gpus_per_trial is None else share_of(gpus_per_trial),
    )


def _uri(tracking_uri: str | None) -> str | None:
    return tracking_uri or os.environ.get(TRACKING_URI) or None


def _other(study: StudyView | AnyPath | None, home: Home) -> str | None:
    """Another study as a launch in this place names it."""
    if isinstance(study, StudyView):
        study = study.name if study.stored.home.where == home.where else study.folder
    return None if study is None else named_study(study)


def _view(study: StudyView | str) -> StudyView:
    return open_study(study) if isinstance(study, str) else study


def _read_anew(study: StudyView | str) -> Any:
    """The study as it is now."""
    view = _view(study)
    return existing(view.stored.home, view.name, files=True)


@contextmanager
def _running(quiet: bool) -> Iterator[Console]:
    """What a command prints to. A signal that left the block on the spot is what it is to a program by itself."""
    try:
        with bars_shown(not quiet):
            yield ProgramConsole(quiet=quiet)
    except SystemExit as end:
        if end.code == 130:
            raise KeyboardInterrupt from None
        raise
