"""A whole run: how its end is told. Programs and the command line start the same: test_program, cli/test_app."""

import io
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.config_file import ConfigFile
from losstune.trainer.run import train as training
from losstune.trainer.run.start import RunRequest
from losstune.trainer.run.whole_run import run
from tests.trainer.samples import sample_arrays

SETTINGS = {"loss_fn": "cosine", "num_epochs": 2, "batch_size": 16, "model.hidden_dim": 8, "device": "cpu"}


def request(folder: Path, digest: str | None = None, **more: object) -> RunRequest:
    source = {"data_digest": digest} if digest else {}
    settings = {**SETTINGS, **more}
    return RunRequest(ConfigFile({}, source), settings, output_dir=folder, data=sample_arrays())


def test_its_end_is_told_and_kept(tmp_path: Path) -> None:
    said = io.StringIO()
    done = run(request(tmp_path / "run"), Console(file=said, width=200))
    assert f"Best epoch {done.best_epoch} of 2, saved as {tmp_path / 'run' / 'best.pt'}" in said.getvalue()
    assert done.metrics["val/mrr"] == max(record["val/mrr"] for record in done.history())
    assert done.summary()["output_dir"] == str(tmp_path / "run")
    assert not done.stopped


def test_a_run_that_diverged_at_once_has_no_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(trainer: training.Trainer) -> dict[str, float]:
        trainer.epoch, trainer.end = 1, "diverged"
        return {"epoch": 1, "train/loss": float("nan"), "seconds": 0.1, "time": 1.0}

    monkeypatch.setattr(training.Trainer, "run_epoch", diverged)
    said = io.StringIO()
    done = run(request(tmp_path / "run"), Console(file=said, width=200))
    assert (done.end, done.metrics) == ("diverged", {})
    assert "Diverged in epoch 1: the loss is not finite; try a smaller lr" in said.getvalue()
    assert "Best epoch" not in said.getvalue()


def test_a_signal_is_told_with_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    original = training.Trainer.run_epoch

    def interrupted(trainer: training.Trainer):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(trainer)

    monkeypatch.setattr(training.Trainer, "run_epoch", interrupted)
    done = run(request(tmp_path / "run"), Console(file=said, width=200))
    assert (done.end, done.epochs, done.stopped.exit_code) == (None, 1, 143)
    assert f"Stopped after epoch 1; --resume --output-dir {tmp_path / 'run'} continues" in said.getvalue()


def test_other_data_than_the_settings_were_tuned_on_is_told(tmp_path: Path) -> None:
    said = io.StringIO()
    run(request(tmp_path / "run", digest="0" * 64), Console(file=said, width=200))
    assert "Note: arrays in memory is not the data that these settings were tuned on" in said.getvalue()


def test_a_checkpoint_is_to_resume_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--checkpoint is where to --resume from: give both, or neither"):
        run(RunRequest(ConfigFile({}, {}), {}, checkpoint=tmp_path / "last.pt"), Console(quiet=True))


def test_data_that_is_not_where_the_settings_have_it_may_be_named_elsewhere(tmp_path: Path) -> None:
    missing, folder = str(tmp_path / "gone.npz"), tmp_path / "run"
    advice = "\nThat is where the settings have their data: --data names its new place"
    settings, quiet = {**SETTINGS, "data": missing}, Console(quiet=True)
    with pytest.raises(UserError) as error:
        run(RunRequest(ConfigFile(settings, {}), {}, output_dir=folder), quiet)
    assert str(error.value) == f"--data {missing}: no such file{advice}"
    with pytest.raises(UserError) as error:
        run(RunRequest(ConfigFile(settings, {}), {"data": missing}, output_dir=folder), quiet)
    assert str(error.value) == f"--data {missing}: no such file"
