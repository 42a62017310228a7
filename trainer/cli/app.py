"""``losstune train`` and ``losstune predict``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import write_whole
from losstune.trainer.cli.field_options import given
from losstune.trainer.cli.options import config_options, option_value
from losstune.trainer.config.config_file import ConfigFile, read_config
from losstune.trainer.config.factory import FACTORY, Factory, load_factory
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.run.attempt import StorageError
from losstune.trainer.run.layout import BEST_FILE, HISTORY_FILE, LAST_FILE
from losstune.trainer.run.predict import predict_file, score_test
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.show import scored_lines
from losstune.trainer.run.train import Finished, resumed_config, train_run


def dashes(name: str) -> str:
    """Every option works ``--with-dashes`` and ``--with_underscores``."""
    return name.replace("_", "-")


CONTEXT = {"token_normalize_func": dashes}


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """The commands ``train`` and ``predict``, with the options of the loss and the model that these arguments name.

    Raises:
        UserError: one can not be imported, or ``--config`` can not be read.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    asked = config_options(train, _asked("--loss-fn", arguments), _asked_model(arguments))
    app.command(context_settings=CONTEXT)(asked)
    app.command(context_settings=CONTEXT)(predict)
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
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object, and progress to stderr")] = False,
    **settings: Any,
) -> None:
    """Train one model with one loss."""
    console = Console(stderr=as_json)
    typed = given(settings)
    file = read_config(config) if config else ConfigFile({}, {})
    if checkpoint and not resume:
        raise UserError("--checkpoint is where to --resume from: give both, or neither")
    if resume:
        chosen, folder = _resume(file.settings | typed, checkpoint, output_dir, overwrite=overwrite)
    else:
        chosen = TrainConfig.from_flat(_final_epochs(file, typed, console))
        folder = _fresh_folder(output_dir, chosen, overwrite=overwrite)
    pairs = load_pairs(chosen.data)
    if file.source.get("data_digest", pairs.digest) != pairs.digest:
        say(console, f"Note: {chosen.data} is not the data that these settings were tuned on")
    finished = train_run(chosen, pairs, folder, console, resume=resume)
    _finish(finished, folder, pairs, console, test=test, as_json=as_json)


def predict(
    checkpoint: Annotated[Path, typer.Option(help="best.pt or last.pt of a run")],
    data: Annotated[str, typer.Option(help="as for train; only its inputs are used")],
    output: Annotated[Path, typer.Option(help="the .npy file to write: one row per input row, in order")],
) -> None:
    """Embed inputs with a trained model."""
    try:
        rows, dims = predict_file(checkpoint, data, output)
    except OSError as error:
        raise UserError(f"--output {output}: can not be written: {error.strerror}") from None
    print(f"Wrote {output}: {rows} rows of {dims} dimensions, float32")


def _resume(
    options: dict[str, Any], checkpoint: Path | None, output_dir: Path | None, *, overwrite: bool
) -> tuple[TrainConfig, RunDirectory]:
    state = checkpoint or (output_dir / LAST_FILE if output_dir else None)
    if state is None:
        raise UserError("--resume needs --checkpoint RUN/last.pt, or the run's --output-dir")
    chosen = resumed_config(state, options)
    folder = output_dir or state.parent
    if folder.resolve() != state.parent.resolve():
        if RunDirectory(folder).holds_run and not overwrite:
            raise UserError(f"--output-dir {folder}: holds another run; --overwrite discards it")
        _copy_run(state, chosen, RunDirectory(folder))
    elif state.name != LAST_FILE:
        raise UserError(f"--checkpoint {state}: not the folder's {LAST_FILE}; resume it into another --output-dir")
    return chosen, RunDirectory(folder)


def _copy_run(state: Path, config: TrainConfig, folder: RunDirectory) -> None:
    """The state comes last: where it is, all that it refers to is."""
    try:
        folder.start(config)
        for source, name in (
            (state.parent / BEST_FILE, BEST_FILE),
            (state.parent / HISTORY_FILE, HISTORY_FILE),
            (state, LAST_FILE),
        ):
            if source.exists():
                write_whole(folder.path / name, source.read_bytes())
    except StorageError as error:
        raise UserError(f"--output-dir {error}") from None
    except OSError as error:
        raise UserError(f"--output-dir {folder.path}: can not be written: {error.strerror}") from None


def _final_epochs(file: ConfigFile, typed: dict[str, Any], console: Console) -> dict[str, Any]:
    """With nothing to validate on, an exported setting is trained for as long as it took to its best."""
    options = file.settings | typed
    best_epoch = file.source.get("best_epoch")
    if options.get("fit") != "train+val" or "num_epochs" in typed or not isinstance(best_epoch, int):
        return options
    say(console, f"Training {best_epoch} epochs, after which the study found this setting at its best")
    horizon = options.get("schedule_epochs") or options.get("num_epochs")
    return options | {"num_epochs": best_epoch, "schedule_epochs": horizon}


def _fresh_folder(output_dir: Path | None, config: TrainConfig, *, overwrite: bool) -> RunDirectory:
    if output_dir is None:
        base = Path("runs") / config.loss.name
        number = 1
        output_dir = base
        while output_dir.exists():
            number += 1
            output_dir = base.with_name(f"{base.name}-{number}")
    folder = RunDirectory(output_dir)
    if folder.holds_run and not overwrite:
        raise UserError(f"--output-dir {output_dir}: holds a run; --resume continues it, --overwrite discards it")
    return folder


def _finish(
    finished: Finished, folder: RunDirectory, pairs: Pairs, console: Console, *, test: bool, as_json: bool
) -> None:
    trainer = finished.trainer
    if finished.interrupted:
        say(console, f"Stopped after epoch {trainer.epoch}; --resume --output-dir {folder.path} continues")
        raise typer.Exit(finished.interrupted.exit_code)
    if trainer.end == "diverged":
        say(console, f"Diverged in epoch {trainer.epoch}: the loss is not finite; try a smaller lr")
    if finished.best is None:
        raise typer.Exit(1)
    summary: dict[str, Any] = {"output_dir": str(folder.path), "end": trainer.end, "epochs": trainer.epoch}
    summary |= {"best_epoch": trainer.best_epoch, **{k: v for k, v in finished.best.items() if "/" in k}}
    say(console, f"Best epoch {trainer.best_epoch} of {trainer.epoch}, saved as {folder.path / BEST_FILE}")
    if test:
        scored = score_test(folder.path / BEST_FILE, pairs)
        summary |= scored.metrics
        for line in scored_lines(scored, trainer.config):
            say(console, line)
    if as_json:
        json.dump(summary, sys.stdout)
        print()
