"""A whole run as the command line and programs ask for it: begun, trained, told, scored if that is wished."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import StopRequest
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.leaks import Finding, findings
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.sources import is_there
from losstune.trainer.run.history import Record, read_history
from losstune.trainer.run.layout import BEST_FILE, HISTORY_FILE
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.scored import score_test
from losstune.trainer.run.show import say_notes, scored_lines
from losstune.trainer.run.start import RunRequest, final_settings, fresh_folder, resumed_run, rules_of
from losstune.trainer.run.train import Finished, train_run
from losstune.trainer.run.trained_model import TrainedModel, load_model


@dataclass(frozen=True)
class Run:
    """A run that has come to its end, or was stopped.

    Attributes:
        output_dir: its folder, with ``best.pt``, ``last.pt``, ``config.yaml`` and ``history.jsonl``.
        config: every setting.
        end: ``epochs``, ``patience``, ``diverged``, or None where it was stopped.
        epochs: epochs trained. best_epoch: the one whose model is kept.
        metrics: of the best epoch, ``val/mrr`` and so on, and ``test/…`` if that was asked for; empty where none was.
        stopped: the signal that stopped it, if one did.
        data: what the data makes of scores, if anything.
    """

    output_dir: Path
    config: TrainConfig
    end: str | None
    epochs: int
    best_epoch: int
    metrics: dict[str, float]
    stopped: StopRequest
    data: tuple[Finding, ...] = ()

    @property
    def checkpoint(self) -> Path:
        """``best.pt``: the model of the best epoch."""
        return self.output_dir / BEST_FILE

    def model(self) -> TrainedModel:
        """The model of the best epoch."""
        return load_model(self.checkpoint)

    def history(self) -> list[Record]:
        """The metrics of every epoch, by name."""
        return read_history(self.output_dir / HISTORY_FILE)

    def summary(self) -> dict[str, Any]:
        """How it ended, as plain values."""
        known = {"output_dir": str(self.output_dir), "end": self.end, "epochs": self.epochs}
        data = {"data": [asdict(finding) for finding in self.data]} if self.data else {}
        return {**known, "best_epoch": self.best_epoch, **self.metrics, **data}


def run(request: RunRequest, console: Console, *, test: bool = False) -> Run:
    """Train what is asked for, to its end or to a signal.

    Args:
        test: score the best model on the test split at the end.

    Raises:
        UserError: settings, data or a folder that can not be used, before any training.
    """
    if request.checkpoint and not request.resume:
        raise UserError("--checkpoint is where to --resume from: give both, or neither")
    if request.resume:
        config, folder = resumed_run(request, console)
    else:
        config = TrainConfig.from_flat(final_settings(request, console))
        folder = fresh_folder(request, config)
    if request.data is None:
        pairs = _pairs_of(config, request)
    else:
        pairs = load_pairs(request.data, config.columns, rules_of(request, config))
        config = config.model_copy(update={"data": pairs.source})
    config = config.model_copy(update=asdict(pairs.rules))
    say_notes(pairs, config.split_seed, console)
    if request.file.source.get("data_digest", pairs.digest) != pairs.digest:
        say(console, f"Note: {config.data} is not the data that these settings were tuned on")
    finished = train_run(
        config,
        pairs,
        folder,
        console,
        resume=request.resume,
        debug_nan=request.debug_nan,
        own_process=request.own_process,
    )
    return _ended(finished, folder, pairs, console, test=test)


def _pairs_of(config: TrainConfig, request: RunRequest) -> Pairs:
    """The data that the settings name; where it was not asked for now, what is gone may be elsewhere."""
    try:
        return load_pairs(config.data, config.columns, rules_of(request, config))
    except UserError as error:
        if "data" in request.settings or is_there(config.data):
            raise
        raise UserError(f"{error}\nThat is where the settings have their data: --data names its new place") from None


def _ended(finished: Finished, folder: RunDirectory, pairs: Pairs, console: Console, *, test: bool) -> Run:
    """Tell how it ended."""
    trainer, best = finished.trainer, finished.best
    metrics = {name: value for name, value in (best or {}).items() if "/" in name}
    if finished.interrupted:
        say(console, f"Stopped after epoch {trainer.epoch}; --resume --output-dir {folder.path} continues")
    elif trainer.end == "diverged":
        where, then = trainer.origin, "try a smaller lr"
        if not where:
            where, then = "the loss is not finite", f"{then}, or --debug-nan, which says where"
        say(console, f"Diverged in epoch {trainer.epoch}: {where}; {then}")
    if best is not None and not finished.interrupted:
        say(console, f"Best epoch {trainer.best_epoch} of {trainer.epoch}, saved as {folder.path / BEST_FILE}")
        if test:
            scored = score_test(folder.path / BEST_FILE, pairs)
            metrics |= scored.metrics
            for line in scored_lines(scored, trainer.config):
                say(console, line)
    return Run(
        folder.path,
        trainer.config,
        trainer.end,
        trainer.epoch,
        trainer.best_epoch,
        metrics,
        finished.interrupted,
        tuple(findings(pairs, trainer.config.split_seed)),
    )
