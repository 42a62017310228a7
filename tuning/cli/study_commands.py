"""Commands on studies that are there: looked at, compared, exported, shown in MLflow, deleted."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from losstune.trainer.base.console import beside
from losstune.trainer.base.errors import UserError
from losstune.tuning.cli.options import AsJson, Margin, Name, Storage, StudyStorage, TrackingUri, home_of
from losstune.tuning.confirm.margin import smallest_margin


def status(
    context: typer.Context,
    name: Name,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="follow it for as long as a launch is running")] = False,
) -> None:
    """Show how far a study is and what is best."""
    from losstune.tuning.commands.studies import existing
    from losstune.tuning.show.status import status_json, status_table, watch_status

    if watch and as_json:
        raise UserError("--watch shows a table that changes; a program asks with --json alone, as often as it likes")
    study = existing(home_of(context, storage, study_storage), name)
    if watch:
        watch_status(study, Console())
    elif as_json:
        print(json.dumps(status_json(study), indent=2))
    else:
        Console().print(status_table(study))


def list_(
    context: typer.Context, storage: Storage = ".", study_storage: StudyStorage = None, as_json: AsJson = False
) -> None:
    """List the studies here."""
    from losstune.tuning.show.status import list_json, list_table

    home = home_of(context, storage, study_storage)
    rows = list_json(home)
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        Console().print(list_table(rows, home.where))
    if errors := [row["error"] for row in rows if row["error"]]:
        raise UserError("\n".join(errors))


def delete(
    context: typer.Context,
    name: Name,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    tracking_uri: TrackingUri = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a study: its trials, its checkpoints, its runs in MLflow."""
    from losstune.tuning.commands.delete import delete_study
    from losstune.tuning.commands.studies import existing
    from losstune.tuning.track.tracking_uri import tracking_uri_of

    home = home_of(context, storage, study_storage)
    uri = tracking_uri_of(home, tracking_uri)
    study = existing(home, name)
    where = study.files.where(study.folder)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"delete {name}: nobody to ask; add --yes to delete {where} for good")
        typer.confirm(f"Delete {where} and its runs in MLflow for good?", abort=True, err=as_json)
    versions = delete_study(home, name, uri)
    if as_json:
        print(json.dumps({"study": name, "kept_versions": versions}, indent=2))
        return
    print(f"Deleted study {name}")
    if versions:
        kept = f"version{'s' * (len(versions) > 1)} {', '.join(map(str, versions))}"
        print(f"MLflow keeps what is registered as model {name} ({kept}), without losstune's aliases")


def compare(
    context: typer.Context,
    name: Name,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    as_json: AsJson = False,
    margin: Margin = None,
    everything: Annotated[bool, typer.Option("--all", help="all pairs, all metrics, what tuning gained")] = False,
) -> None:
    """Show which loss, by how much and how sure, from the newest confirmation."""
    from losstune.tuning.commands.studies import existing
    from losstune.tuning.confirm.compare import compare as compared
    from losstune.tuning.show.comparison import comparison_json, show_answer, show_comparison

    home = home_of(context, storage, study_storage)
    comparison = compared(existing(home, name, files=True), margin)
    if as_json:
        print(json.dumps(comparison_json(comparison), indent=2))
    elif everything:
        show_comparison(comparison, Console())
    else:
        show_answer(comparison, Console(), home.options())


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

    study = existing(home_of(context, storage, study_storage), name, files=True)
    written = write_report(study, output or Path(f"{name}.html"), tracking_uri)
    said = beside(written.output)
    print(f"Wrote {written.output}: {written.size / 1e6:.1f} MB, opens in any browser", file=said)
    if written.not_in_mlflow:
        print(written.not_in_mlflow, file=sys.stderr)


def export(
    context: typer.Context,
    name: Name,
    output: Annotated[Path, typer.Option(help="the YAML file to write")],
    loss_fn: Annotated[
        str | None, typer.Option(help="the best of this loss, by its name in the study  (default: of all)")
    ] = None,
    smallest: Annotated[
        bool, typer.Option("--smallest", help="the smallest confirmed model that is as good as the best")
    ] = False,
    margin: Margin = None,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
) -> None:
    """Write the best setting as a YAML that trains the final model."""
    from losstune.tuning.commands.export import export as write_export
    from losstune.tuning.commands.studies import existing

    home = home_of(context, storage, study_storage)
    smallest_margin(smallest=smallest, margin=margin)
    exported = write_export(existing(home, name, files=True), loss_fn, output, smallest=smallest, margin=margin)
    said = [f"Wrote {output}: {exported.trial}, {exported.value:.4f}"]
    if exported.seeds:
        said.append(f"Confirmed: that is the mean over {exported.seeds} fresh seeds.")
        if exported.dims:
            dims = exported.dims
            said.append(f"It is as good cut to {dims} dimensions: losstune predict takes --dims {dims}")
    else:
        said.append(
            "Unconfirmed: it was picked for being high, and other seeds will score lower. "
            f"losstune confirm {name}{home.options()} tells by how much."
        )
    if output.is_file():  # what went into a pipe is where its reader has put it
        said.append(f"Next: losstune train --config {shlex.quote(str(output))} --output_dir final --test")
    print(*said, sep="\n", file=beside(output))


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
    from losstune.tuning.track.tracking_uri import tracking_uri_of

    home = home_of(context, storage, study_storage)
    uri = tracking_uri_of(home, tracking_uri)
    study = existing(home, name)
    try:
        sync_study(study, uri)
    except UserError as error:  # no bad input: a script tells by the code that MLflow still lags
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"MLflow has all of study {name}")


def ui(
    context: typer.Context,
    storage: Storage = ".",
    study_storage: StudyStorage = None,
    tracking_uri: TrackingUri = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0: any free one")] = 5000,
) -> None:
    """Open MLflow's UI on the right store, on loopback only."""
    from losstune.tuning.commands.ui import run_ui

    raise typer.Exit(run_ui(home_of(context, storage, study_storage), tracking_uri, port, Console()))
