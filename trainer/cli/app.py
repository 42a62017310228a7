"""``losstune train``, ``losstune predict`` and ``losstune convert``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from losstune.trainer.base.console import beside
from losstune.trainer.base.errors import UserError
from losstune.trainer.cli.field_options import given
from losstune.trainer.cli.options import config_options, option_value
from losstune.trainer.config.config_file import ConfigFile, read_config
from losstune.trainer.config.factory import FACTORY, Factory, load_factory
from losstune.trainer.data.convert import convert as convert_files
from losstune.trainer.run.predict import gallery_file, predict_file
from losstune.trainer.run.start import RunRequest
from losstune.trainer.run.whole_run import run


def dashes(name: str) -> str:
    """Every option works ``--with-dashes`` and ``--with_underscores``."""
    return name.replace("_", "-")


CONTEXT = {"token_normalize_func": dashes}


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """The trainer's commands, with the options of the loss and the model that these arguments name.

    Raises:
        UserError: one can not be imported, or ``--config`` can not be read.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    asked = config_options(train, _asked("--loss-fn", arguments), _asked_model(arguments))
    app.command(context_settings=CONTEXT)(asked)
    app.command(context_settings=CONTEXT)(predict)
    app.command(context_settings=CONTEXT)(convert)
    return app


def _asked_model(arguments: Sequence[str]) -> Factory | None:
    reference = _asked(f"--{FACTORY}", arguments)
    return None if reference is None else load_factory(reference)


def _asked(option: str, arguments: Sequence[str]) -> str | None:
    """What a command line says of a setting, or else its ``--config``."""
    given_value, config = (option_value(arguments, name) for name in (option, "--config"))
    name = option.removeprefix("--").replace("-", "_")
    return given_value or (read_config(Path(config)).settings.get(name) if config else None)


def train(
    config: Annotated[Path | None, typer.Option(help="YAML of settings; options override it")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="folder of the run  (default: a new one under runs/)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run of --checkpoint or --output-dir")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="the last.pt to resume from")] = None,
    test: Annotated[bool, typer.Option("--test", help="score the best model on the test split at the end")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="start anew in a folder that holds a run")] = False,
    debug_nan: Annotated[
        bool, typer.Option("--debug-nan", help="if it diverges, say where the first NaN or infinity arose; slower")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object, and progress to stderr")] = False,
    **settings: Any,
) -> None:
    """Train one model with one loss."""
    request = RunRequest(
        file=read_config(config) if config else ConfigFile({}, {}),
        settings=given(settings),
        output_dir=output_dir,
        resume=resume,
        checkpoint=checkpoint,
        overwrite=overwrite,
        debug_nan=debug_nan,
    )
    done = run(request, Console(stderr=as_json), test=test)
    if done.stopped:
        raise typer.Exit(done.stopped.exit_code)
    if not done.metrics:
        raise typer.Exit(1)
    if as_json:
        json.dump(done.summary(), sys.stdout)
        print()


def predict(
    checkpoint: Annotated[Path, typer.Option(help="best.pt or last.pt of a run")],
    output: Annotated[Path, typer.Option(help="the .npy file to write: one row per row, in order")],
    data: Annotated[str | None, typer.Option(help="as for train; only its inputs are used")] = None,
    columns: Annotated[str | None, typer.Option(help="what is read, where it is not so named: inputs=anchor")] = None,
    for_search: Annotated[
        bool, typer.Option("--for-search", help="of length one, about the centre if trained so: for an inner product")
    ] = False,
    targets: Annotated[
        str | None, typer.Option(help="in place of --data: its targets, as --for-search makes rows")
    ] = None,
    dims: Annotated[
        int | None, typer.Option(help="only the first so many dimensions: one of --matryoshka-dims of the run")
    ] = None,
) -> None:
    """Embed inputs with a trained model, or make targets ready to be searched by them."""
    if (data is None) == (targets is None):
        raise UserError("predict: give --data, whose inputs are embedded, or --targets, which are to be searched")
    try:
        if targets is not None:
            rows, dims = gallery_file(checkpoint, targets, output, columns, dims=dims)
        else:
            rows, dims = predict_file(checkpoint, str(data), output, columns, for_search=for_search, dims=dims)
    except OSError as error:
        raise UserError(f"--output {output}: can not be written: {error.strerror}") from None
    print(f"Wrote {output}: {rows} rows of {dims} dimensions, float32", file=beside(output))


def convert(
    paths: Annotated[list[str], typer.Argument(metavar="FILES... FOLDER", help="what --data takes; a folder to make")],
    columns: Annotated[
        str | None, typer.Option(help="names of its arrays where they are not so named: inputs=anchor,targets=positive")
    ] = None,
) -> None:
    """Write data of any form as a folder of .npy files, which may be larger than memory."""
    *sources, folder = paths
    if not sources:
        raise UserError("convert: found one path; expected files, and behind them the folder to make")
    try:
        rows = convert_files(sources, Path(folder), columns)
    except OSError as error:
        raise UserError(f"{folder}: can not be written: {error.strerror}") from None
    print(f"Wrote {folder}: {rows:,} rows")
