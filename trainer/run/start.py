"""How a run begins: in a fresh folder, or where another has stopped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import write_whole
from losstune.trainer.config.config_file import ConfigFile
from losstune.trainer.config.data_rules import DataRules, new_rules
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.sources import Source
from losstune.trainer.run.attempt import StorageError
from losstune.trainer.run.layout import BEST_FILE, HISTORY_FILE, LAST_FILE
from losstune.trainer.run.resumed import resumed_config, saved_config
from losstune.trainer.run.run_dir import RunDirectory


@dataclass(frozen=True)
class RunRequest:
    """A run as it is asked for.

    Attributes:
        file: settings from a YAML file, and where they come from.
        settings: flat settings that override the file's.
        output_dir: its folder; None is a new one under ``runs/``.
        resume: continue the run of ``checkpoint`` or of ``output_dir``.
        checkpoint: the ``last.pt`` to resume from.
        overwrite: start anew in a folder that holds a run.
        debug_nan: as of :class:`~losstune.trainer.run.loop.Trainer`.
        data: what to train on, in place of the settings' source.
        own_process: as of :func:`~losstune.trainer.base.signals.stop_on_signal`.
    """

    file: ConfigFile
    settings: Mapping[str, Any]
    output_dir: Path | None = None
    resume: bool = False
    checkpoint: Path | None = None
    overwrite: bool = False
    debug_nan: bool = False
    data: Source | None = None
    own_process: bool = True


def resumed_run(request: RunRequest, console: Console) -> tuple[TrainConfig, RunDirectory]:
    """The config and the folder of a run that goes on; in another folder it goes on from a copy.

    Raises:
        UserError: there is nothing to resume, or other settings than the run's are asked for.
    """
    output_dir = request.output_dir
    state = request.checkpoint or (output_dir / LAST_FILE if output_dir else None)
    if state is None:
        raise UserError("--resume needs --checkpoint RUN/last.pt, or the run's --output-dir")
    before = saved_config(state)
    best_epoch = _best_epoch(request, default_fit=before.fit)
    file = request.file.settings if best_epoch is None else {**request.file.settings, "num_epochs": best_epoch}
    config = resumed_config(before, file, request.settings)
    if best_epoch is not None:
        _say_best_epoch(best_epoch, console)
    if config.schedule == "cosine" and config.horizon != before.horizon:
        say(console, f"Note: the cosine schedule ends with epoch {config.horizon} now, no longer with {before.horizon}")
    folder = output_dir or state.parent
    if folder.resolve() != state.parent.resolve():
        if RunDirectory(folder).holds_run and not request.overwrite:
            raise UserError(f"--output-dir {folder}: holds another run; --overwrite discards it")
        _copy_run(state, config, RunDirectory(folder))
    elif state.name != LAST_FILE:
        raise UserError(f"--checkpoint {state}: not the folder's {LAST_FILE}; resume it into another --output-dir")
    return config, RunDirectory(folder)


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


def final_settings(request: RunRequest, console: Console) -> dict[str, Any]:
    """The settings of a fresh run: the file's, and those of the command, which come first."""
    options = {**request.file.settings, **request.settings}
    best_epoch = _best_epoch(request)
    if best_epoch is None:
        return options
    _say_best_epoch(best_epoch, console)
    horizon = options.get("schedule_epochs") or options.get("num_epochs")
    return options | {"num_epochs": best_epoch, "schedule_epochs": horizon}


def _best_epoch(request: RunRequest, default_fit: str | None = None) -> int | None:
    """How long an exported setting is trained with nothing to validate on: the epochs that it took to its best.

    None where there is, where the command says how long, and where no study knows.
    """
    best_epoch = request.file.source.get("best_epoch")
    fit = {**request.file.settings, **request.settings}.get("fit", default_fit)
    final = fit == "train+val" and "num_epochs" not in request.settings
    return best_epoch if final and isinstance(best_epoch, int) else None


def _say_best_epoch(best_epoch: int, console: Console) -> None:
    say(console, f"Training {best_epoch} epochs, after which the study found this setting at its best")


def rules_of(request: RunRequest, config: TrainConfig) -> DataRules:
    """How its rows are split, and which targets are right.

    A run that is resumed keeps its rules, and so do settings of a study or of a run of before there was a choice, whose
    files name every setting but these; where neither options nor a file of one's own say any, they are the new ones.
    """
    written = {"split_seed", "eval_batch", "precision"} <= request.file.settings.keys()
    if request.resume or request.file.source or written:
        return config.rules
    return new_rules({**request.file.settings, **request.settings})


def fresh_folder(request: RunRequest, config: TrainConfig) -> RunDirectory:
    """A folder that holds no run yet, or one that is to be discarded.

    Raises:
        UserError: it holds a run.
    """
    output_dir = request.output_dir
    if output_dir is None:
        base = Path("runs") / config.loss.name
        number = 1
        output_dir = base
        while output_dir.exists():
            number += 1
            output_dir = base.with_name(f"{base.name}-{number}")
    folder = RunDirectory(output_dir)
    if folder.holds_run and not request.overwrite:
        raise UserError(f"--output-dir {output_dir}: holds a run; --resume continues it, --overwrite discards it")
    return folder
