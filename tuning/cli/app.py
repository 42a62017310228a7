"""The entry point ``losstune``. Each command imports what it needs, so that ``train`` never loads Ray."""

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    GpusPerTrial,
    Name,
    Storage,
    StudyStorage,
    TrackingUri,
    study_options,
)
from losstune.tuning.cli.process import run
from losstune.tuning.commands.wishes import seconds_of

if TYPE_CHECKING:
    from losstune.tuning.storage.home import Home

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
    time_budget: Annotated[str | None, typer.Option(help="stop after this long: 90s, 30m, 2h")] = None,
    concurrency: Concurrency = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = None,
    address: Address = None,
    accept_change: AcceptChange = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="try failed trials again")] = False,
    resume: Annotated[bool, typer.Option("--resume", hidden=True)] = False,
    tracking_uri: TrackingUri = None,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    **settings: Any,
) -> None:
    """Start a study over one or more losses, or continue it."""
    with loaded_for_good():
        from losstune.tuning.commands.launch import LaunchRequest
        from losstune.tuning.commands.launch import launch as run_launch
        from losstune.tuning.execute.placement import Resources
        from losstune.tuning.execute.session import Execution
        from losstune.tuning.study.lost_trials import without_success

    if resume:
        raise UserError("launch has no --resume, and needs none: the same command without it continues a study")
    if not study:
        raise UserError("--study NAME is missing: the name under which the study is kept and continued")
    home = _home(context, storage, study_storage)
    request = LaunchRequest(
        spaces=spaces or [],
        data=data,
        name=study,
        home=home,
        execution=Execution(Resources(concurrency, cpus_per_trial, gpus_per_trial), address, tracking_uri),
        options=given(settings),
        time_budget=seconds_of(time_budget) if time_budget else None,
        accept_change=accept_change,
        retry_failed=retry_failed,
        columns=columns,
    )
    outcome = run_launch(request, Console())
    if outcome.stopped:
        print(f"Stopped; the same command continues study {study}", file=sys.stderr)
        raise typer.Exit(outcome.stopped.exit_code)
    at, trials = home.options(), outcome.study.trials()
    in_vain = without_success(trials)
    for line in in_vain.values():
        print(f"error: {line}", file=sys.stderr)
    if len(in_vain) < len(trials):
        print(f"Next: losstune confirm {study}{at}    losstune ui{at}")
    if in_vain:
        raise typer.Exit(1)


@app.command(context_settings=_CONTEXT)
def status(
    context: typer.Context,
    name: Name,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a study is and what is best."""
    from losstune.tuning.commands.studies import existing
    from losstune.tuning.show.status import status_json, status_table

    study = existing(_home(context, storage, study_storage), name)
    if as_json:
        print(json.dumps(status_json(study), indent=2))
    else:
        Console().print(status_table(study))


@app.command("list", context_settings=_CONTEXT)
def list_(
    context: typer.Context, storage: Storage = ".", study_storage: StudyStorage = None, as_json: AsJson = False
) -> None:
    """List the studies here."""
    from losstune.tuning.show.status import list_json, list_table

    home = _home(context, storage, study_storage)
    if as_json:
        print(json.dumps(list_json(home), indent=2))
    else:
        Console().print(list_table(home))


@app.command(context_settings=_CONTEXT)
def delete(
    context: typer.Context,
    name: Name,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    tracking_uri: TrackingUri = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete a study: its trials, its checkpoints, its runs in MLflow."""
    from losstune.tuning.commands.delete import delete_study
    from losstune.tuning.commands.studies import existing
    from losstune.tuning.track.process import tracking_uri_of

    home = _home(context, storage, study_storage)
    uri = tracking_uri_of(home, tracking_uri)
    study = existing(home, name)
    where = study.files.where(study.folder)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"delete {name}: nobody to ask; add --yes to delete {where} for good")
        typer.confirm(f"Delete {where} and its runs in MLflow for good?", abort=True)
    versions = ", ".join(map(str, delete_study(home, name, uri)))
    print(f"Deleted study {name}")
    if versions:
        print(f"MLflow keeps what is registered as model {name} (version {versions}), without the alias champion")


@app.command(context_settings=_CONTEXT)
@study_options
def check(
    spaces: Annotated[list[str], typer.Argument(help=SPACES_HELP)],
    data: Data = None,
    columns: Columns = None,
    concurrency: Concurrency = None,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Validate search spaces; show rungs, expected epochs and the time they take."""
    from losstune.tuning.commands.check import check_spaces, checked_json, show_checked

    checked = check_spaces(spaces, data, given(settings), concurrency, columns)
    if as_json:
        print(json.dumps(checked_json(checked), indent=2))
    else:
        show_checked(checked, Console())


@app.command(context_settings=_CONTEXT)
def confirm(
    context: typer.Context,
    name: Name,
    top: Annotated[int, typer.Option(min=1, max=100, help="settings of each loss to train again")] = 3,
    seeds: Annotated[int, typer.Option(min=2, max=1000, help="fresh seeds; claims need at least 10")] = 10,
    concurrency: Concurrency = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = None,
    address: Address = None,
    accept_change: AcceptChange = False,
    tracking_uri: TrackingUri = None,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
) -> None:
    """Train each loss's best settings again with fresh seeds, and score the picks on the test split once."""
    with loaded_for_good():
        from losstune.tuning.commands.confirm import ConfirmRequest
        from losstune.tuning.commands.confirm import confirm as run_confirm
        from losstune.tuning.confirm.compare import compare as compared
        from losstune.tuning.execute.placement import Resources
        from losstune.tuning.execute.session import Execution
        from losstune.tuning.show.comparison import show_comparison

    execution = Execution(Resources(concurrency, cpus_per_trial, gpus_per_trial), address, tracking_uri)
    home = _home(context, storage, study_storage)
    confirmed = run_confirm(ConfirmRequest(name, home, top, seeds, execution, accept_change), Console())
    if confirmed.stopped:
        print(f"Stopped; the same command continues the confirmation of study {name}", file=sys.stderr)
        raise typer.Exit(confirmed.stopped.exit_code)
    show_comparison(compared(confirmed.study), Console())
    at = home.options()
    print(f"Next: losstune report {name}{at} --output report.html    losstune export {name}{at} --output best.yaml")


@app.command(context_settings=_CONTEXT)
def compare(
    context: typer.Context,
    name: Name,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    as_json: AsJson = False,
) -> None:
    """Show which loss, by how much and how sure, from the newest confirmation."""
    from losstune.tuning.commands.studies import existing
    from losstune.tuning.confirm.compare import compare as compared
    from losstune.tuning.show.comparison import comparison_json, show_comparison

    comparison = compared(existing(_home(context, storage, study_storage), name, files=True))
    if as_json:
        print(json.dumps(comparison_json(comparison), indent=2))
    else:
        show_comparison(comparison, Console())


@app.command(context_settings=_CONTEXT)
def report(
    context: typer.Context,
    name: Name,
    output: Annotated[
        Path | None, typer.Option(help="the HTML file to write: one file, no network  (default: NAME.html)")
    ] = None,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write the whole answer as one HTML page; a confirmed study's goes to MLflow too."""
    from losstune.tuning.commands.report import report as write_report
    from losstune.tuning.commands.studies import existing
    from losstune.tuning.track.process import tracking_uri_of

    home = _home(context, storage, study_storage)
    uri = tracking_uri_of(home, tracking_uri)
    written = write_report(existing(home, name, files=True), output or Path(f"{name}.html"), uri)
    print(f"Wrote {written.output}: {written.size / 1e6:.1f} MB, opens in any browser")
    if written.not_in_mlflow:
        print(written.not_in_mlflow, file=sys.stderr)


@app.command(context_settings=_CONTEXT)
def export(
    context: typer.Context,
    name: Name,
    output: Annotated[Path, typer.Option(help="the YAML file to write")],
    loss_fn: Annotated[str | None, typer.Option(help="the best of this loss  (default: of all)")] = None,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
) -> None:
    """Write the best setting as a YAML that trains the final model."""
    from losstune.tuning.commands.export import export as write_export
    from losstune.tuning.commands.studies import existing

    home = _home(context, storage, study_storage)
    exported = write_export(existing(home, name, files=True), loss_fn, output)
    print(f"Wrote {output}: {exported.trial}, {exported.value:.4f}")
    if exported.seeds:
        print(f"Confirmed: that is the mean over {exported.seeds} fresh seeds.")
    else:
        print(
            "Unconfirmed: it was picked for being high, and other seeds will score lower. "
            f"losstune confirm {name}{home.options()} tells by how much."
        )
    print(f"Next: losstune train --config {output} --output_dir final --test")


@app.command(context_settings=_CONTEXT)
def sync(
    context: typer.Context,
    name: Name,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Bring MLflow to exactly what the study's own files say."""
    from losstune.tuning.commands.studies import existing
    from losstune.tuning.commands.sync import sync_study
    from losstune.tuning.track.process import tracking_uri_of

    home = _home(context, storage, study_storage)
    uri = tracking_uri_of(home, tracking_uri)
    study = existing(home, name)
    try:
        sync_study(study, uri)
    except UserError as error:  # no bad input: a script tells by the code that MLflow still lags
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"MLflow has all of study {name}")


@app.command(context_settings=_CONTEXT)
def ui(
    context: typer.Context,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    tracking_uri: TrackingUri = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0: any free one")] = 5000,
) -> None:
    """Open MLflow's UI on the right store, on loopback only."""
    from losstune.tuning.commands.ui import run_ui

    raise typer.Exit(run_ui(_home(context, storage, study_storage), tracking_uri, port, Console()))


def _home(context: typer.Context, storage: str, study_storage: str | None) -> "Home":
    """Where the studies are, for the time of this command."""
    from losstune.tuning.storage.home import home_at

    return context.with_resource(home_at(storage, study_storage))


def main() -> None:
    """Run the command line."""
    if sys.modules["__main__"].__spec__ is not None:  # python -m has put the working folder in front of all libraries
        search_in(HERE)
    run(app)
