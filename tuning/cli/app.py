"""The entry point ``losstune``. Each command imports what it needs, so that ``train`` never loads Ray."""

import json
import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.loading import loaded_for_good
from losstune.trainer.base.users_modules import HERE, search_in
from losstune.trainer.cli.field_options import given
from losstune.tuning.cli.options import (
    SPACES_HELP,
    AcceptChange,
    Address,
    AsJson,
    Columns,
    Concurrency,
    CpusPerTrial,
    Data,
    DebugNan,
    EndAsJson,
    GpusPerTrial,
    Margin,
    Name,
    Quiet,
    RetryFailed,
    Storage,
    StudyStorage,
    SystemMetrics,
    TimeBudget,
    TrackingUri,
    WarmStart,
    home_of,
    study_options,
)
from losstune.tuning.cli.process import run
from losstune.tuning.cli.study_commands import compare, delete, export, list_, report, status, sync, ui
from losstune.tuning.commands.wishes import SEEDS, TOP, seconds_of
from losstune.tuning.confirm.margin import smallest_margin

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"losstune {metadata.version('losstune')}")
        raise typer.Exit


_FORWARD = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
_CONTEXT = {"token_normalize_func": lambda name: name.replace("_", "-")}


@app.callback()
def losstune(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="print it")] = False,
) -> None:
    """Which loss, with which settings, on your data."""


@app.command(context_settings=_FORWARD)
def train(context: typer.Context) -> None:
    """Train one model with one loss."""
    _trainer(context)


@app.command(context_settings=_FORWARD)
def predict(context: typer.Context) -> None:
    """Embed inputs with a trained model."""
    _trainer(context)


@app.command(context_settings=_FORWARD)
def convert(context: typer.Context) -> None:
    """Write data of any form as a folder of .npy files, which may be larger than memory."""
    _trainer(context)


def _trainer(context: typer.Context) -> None:
    from losstune.trainer.cli.app import app_for

    arguments = [str(context.info_name), *context.args]
    app_for(arguments)(arguments, prog_name="losstune")


@app.command(context_settings=_CONTEXT)
@study_options
def launch(
    context: typer.Context,
    spaces: Annotated[list[str] | None, typer.Argument(help=SPACES_HELP)] = None,
    study: Annotated[str, typer.Option(help="name of the study; an existing one is continued")] = "",
    data: Data = None,
    columns: Columns = None,
    time_budget: TimeBudget = None,
    concurrency: Concurrency = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = None,
    address: Address = None,
    accept_change: AcceptChange = False,
    retry_failed: RetryFailed = False,
    debug_nan: DebugNan = False,
    warm_start: WarmStart = None,
    resume: Annotated[bool, typer.Option("--resume", hidden=True)] = False,
    tracking_uri: TrackingUri = None,
    system_metrics: SystemMetrics = True,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    quiet: Quiet = False,
    as_json: EndAsJson = False,
    **settings: Any,
) -> None:
    """Start a study over one or more losses, or continue it."""
    with loaded_for_good():
        from losstune.tuning.cli.ends import console_of
        from losstune.tuning.cli.launch_end import end_launch
        from losstune.tuning.commands.launch import LaunchRequest
        from losstune.tuning.commands.launch import launch as run_launch
        from losstune.tuning.commands.studies import named_study
        from losstune.tuning.execute.placement import Resources
        from losstune.tuning.execute.session import Execution

    if resume:
        raise UserError("launch has no --resume, and needs none: the same command without it continues a study")
    if not study:
        raise UserError("--study NAME is missing: the name under which the study is kept and continued")
    home = home_of(context, storage, study_storage)
    resources = Resources(concurrency, cpus_per_trial, gpus_per_trial)
    request = LaunchRequest(
        spaces=spaces or [],
        data=data,
        name=study,
        home=home,
        execution=Execution(resources, address, tracking_uri, system_metrics),
        options=given(settings),
        time_budget=seconds_of(time_budget) if time_budget else None,
        accept_change=accept_change,
        retry_failed=retry_failed,
        debug_nan=debug_nan,
        columns=columns,
        warm_start=named_study(warm_start) if warm_start else None,
    )
    outcome = run_launch(request, console_of(context, quiet=quiet, as_json=as_json))
    end_launch(outcome, home.options(), tracking_uri, quiet=quiet, as_json=as_json)


@app.command(context_settings=_CONTEXT)
@study_options
def check(
    context: typer.Context,
    spaces: Annotated[list[str] | None, typer.Argument(help=SPACES_HELP)] = None,
    study: Annotated[str, typer.Option(help="name of the study; what an existing one allows is checked too")] = "",
    data: Data = None,
    columns: Columns = None,
    time_budget: TimeBudget = None,
    concurrency: Concurrency = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = None,
    address: Address = None,
    accept_change: AcceptChange = False,
    retry_failed: RetryFailed = False,
    debug_nan: DebugNan = False,
    warm_start: WarmStart = None,
    tracking_uri: TrackingUri = None,
    system_metrics: SystemMetrics = True,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Find what would stop a launch of these options; show rungs, expected epochs and the time they take."""
    from losstune.tuning.commands.check import check_request, checked_json, show_checked
    from losstune.tuning.commands.launch import LaunchRequest
    from losstune.tuning.commands.studies import named_study
    from losstune.tuning.execute.placement import Resources
    from losstune.tuning.execute.session import Execution

    resources = Resources(concurrency, cpus_per_trial, gpus_per_trial)
    request = LaunchRequest(
        spaces=spaces or [],
        data=data,
        name=study,
        home=home_of(context, storage, study_storage),
        execution=Execution(resources, address, tracking_uri, system_metrics),
        options=given(settings),
        time_budget=seconds_of(time_budget) if time_budget else None,
        accept_change=accept_change,
        retry_failed=retry_failed,
        debug_nan=debug_nan,
        columns=columns,
        warm_start=named_study(warm_start) if warm_start else None,
    )
    checked = check_request(request)
    if as_json:
        print(json.dumps(checked_json(checked), indent=2))
    else:
        show_checked(checked, Console())


@app.command(context_settings=_CONTEXT)
def confirm(
    context: typer.Context,
    name: Name,
    top: Annotated[int, typer.Option(min=1, max=100, help="settings of each loss to train again")] = TOP,
    seeds: Annotated[int, typer.Option(min=2, max=1000, help="fresh seeds; claims need at least 10")] = SEEDS,
    smallest: Annotated[
        bool, typer.Option("--smallest", help="also the trial of the smallest model within --margin of the best")
    ] = False,
    margin: Margin = None,
    early: Annotated[
        bool, typer.Option("--early", help="settings that have clearly lost in validation get no more seeds")
    ] = False,
    data: Data = None,
    columns: Columns = None,
    concurrency: Concurrency = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = None,
    address: Address = None,
    accept_change: AcceptChange = False,
    tracking_uri: TrackingUri = None,
    system_metrics: SystemMetrics = True,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    quiet: Quiet = False,
    as_json: EndAsJson = False,
) -> None:
    """Train each loss's best settings again with fresh seeds, and score the picks on the test split once."""
    with loaded_for_good():
        from losstune.tuning.cli.confirm_end import end_confirm
        from losstune.tuning.cli.ends import console_of
        from losstune.tuning.commands.confirm import ConfirmRequest
        from losstune.tuning.commands.confirm import confirm as run_confirm
        from losstune.tuning.execute.placement import Resources
        from losstune.tuning.execute.session import Execution

    execution = Execution(Resources(concurrency, cpus_per_trial, gpus_per_trial), address, tracking_uri, system_metrics)
    home = home_of(context, storage, study_storage)
    within = smallest_margin(smallest=smallest, margin=margin)
    request = ConfirmRequest(name, home, top, seeds, execution, accept_change, data, columns, within, early)
    confirmed = run_confirm(request, console_of(context, quiet=quiet, as_json=as_json))
    end_confirm(confirmed, home.options(), tracking_uri, quiet=quiet, as_json=as_json)


for name, command in (
    ("status", status),
    ("list", list_),
    ("compare", compare),
    ("report", report),
    ("export", export),
    ("sync", sync),
    ("ui", ui),
    ("delete", delete),
):
    app.command(name, context_settings=_CONTEXT)(command)


def main() -> None:
    """Run the command line."""
    if sys.modules["__main__"].__spec__ is not None:  # python -m has put the working folder in front of all libraries
        search_in(HERE)
    run(app)
