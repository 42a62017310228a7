"""A run from start to end: resuming it, refusing to, and stopping it by a signal."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from losstune.trainer.data.pairs import make_pairs
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.checkpoint import load_checkpoint, save_checkpoint
from tests.trainer.cli.test_app import best_weights, equal, history, settings
from tests.trainer.conftest import Line
from tests.trainer.samples import sample_arrays, timeless

LOSSES = ["mse", "cosine", "cosine_mse", "infonce"]


class TestResume:
    @pytest.mark.parametrize("loss_fn", LOSSES)
    def test_every_loss_continues_to_the_same_bits(self, train: Line, loss_fn: str) -> None:
        line = f"--loss_fn {loss_fn} --dropout 0.2"
        train(f"{line} --num_epochs 5 --output_dir straight")
        train(f"{line} --num_epochs 2 --output_dir parts")
        done = train(f"{line} --num_epochs 5 --output_dir parts --resume")
        assert done.code == 0
        assert done.out.splitlines()[:2] == ["Resuming after epoch 2", "Epoch 3/5"]
        assert timeless(history("parts")) == timeless(history("straight"))
        assert equal(best_weights("parts"), best_weights("straight"))

    @pytest.mark.parametrize("loss_fn", ["cosine", "infonce"])
    def test_with_a_centre_too(self, train: Line, loss_fn: str) -> None:
        train(f"--loss_fn {loss_fn} --center --num_epochs 5 --output_dir straight")
        train(f"--loss_fn {loss_fn} --center --num_epochs 2 --output_dir parts")
        assert train("--resume --num_epochs 5 --output_dir parts").code == 0
        assert timeless(history("parts")) == timeless(history("straight"))
        assert equal(best_weights("parts"), best_weights("straight"))

    def test_a_setting_younger_than_the_checkpoint_stands_at_its_default(self, train: Line, cli: Line) -> None:
        train("--num_epochs 1 --output_dir run")
        content = load_checkpoint(Path("run/last.pt"))
        del content["config"]["center"]
        save_checkpoint(Path("run/last.pt"), content)
        assert cli("train --resume --output_dir run --config run/config.yaml --num_epochs 2").code == 0
        assert settings()["center"] is False

    def test_a_checkpoint_says_which_run_and_with_which_settings(self, train: Line, cli: Line) -> None:
        train("--loss_fn infonce --temperature 0.1 --num_epochs 1 --output_dir run")
        assert cli("train --resume --checkpoint run/last.pt --num_epochs 2").code == 0
        assert len(history()) == 2
        assert (settings()["temperature"], settings()["num_epochs"]) == (0.1, 2)

    def test_without_more_epochs_there_is_nothing_to_do(self, train: Line, cli: Line) -> None:
        train("--num_epochs 2 --output_dir run")
        done = cli("train --resume --output_dir run")
        assert done.code == 0
        assert done.out.splitlines()[0] == "Resuming after epoch 2"
        assert len(history()) == 2

    def test_fewer_epochs_than_trained_train_none(self, train: Line, cli: Line) -> None:
        train("--num_epochs 3 --output_dir run")
        assert cli("train --resume --output_dir run --num_epochs 1").code == 0
        assert len(history()) == 3

    def test_another_folder_gets_a_run_of_its_own(self, train: Line, cli: Line) -> None:
        train("--num_epochs 2 --output_dir one")
        before = {path.name: path.read_bytes() for path in Path("one").iterdir()}
        assert cli("train --resume --checkpoint one/last.pt --output_dir two --num_epochs 4").code == 0
        assert {path.name: path.read_bytes() for path in Path("one").iterdir()} == before
        assert len(history("two")) == 4
        train("--num_epochs 4 --output_dir straight")
        assert equal(best_weights("two"), best_weights("straight"))

    def test_a_cosine_schedule_keeps_its_end(self, train: Line, cli: Line) -> None:
        train("--schedule cosine --num_epochs 2 --output_dir run")
        assert cli("train --resume --output_dir run").code == 0
        assert settings()["schedule_epochs"] == 2
        done = cli("train --resume --output_dir run --num_epochs 4")
        assert (done.code, len(history())) == (2, 2)
        assert "epochs 3 to 4 have a learning rate of 0" in done.err

    def test_a_cosine_schedule_is_prolonged_when_asked_to(self, train: Line, cli: Line) -> None:
        train("--schedule cosine --num_epochs 2 --output_dir run")
        done = cli("train --resume --output_dir run --num_epochs 4 --schedule_epochs 4")
        assert done.out.startswith("Note: the cosine schedule ends with epoch 4 now, no longer with 2\n")
        quarter = (1 + math.cos(math.pi * 3 / 4)) / 2 * 1e-3
        assert [record["lr"] for record in history()] == pytest.approx([5e-4, 0, quarter, 0])

    def test_a_schedule_that_can_hardly_be_meant_is_told_while_there_is_something_to_train(
        self, train: Line, cli: Line
    ) -> None:
        note = "Note: a warm-up of 5 epochs in a run of 2: lr rises to 0.0004, not to 0.001; --warmup_epochs may be"
        assert note in train("--warmup_epochs 5 --num_epochs 2 --output_dir run").out
        assert [record["lr"] for record in history()] == pytest.approx([2e-4, 4e-4])
        assert "Note" not in cli("train --resume --output_dir run").out

    def test_a_cosine_schedule_of_one_step_is_told(self, train: Line) -> None:
        done = train("--schedule cosine --num_epochs 1 --batch_size 64 --accumulate 99 --output_dir run")
        assert "Note: the cosine schedule is a single step, which has a learning rate of 0: nothing is" in done.out
        assert history()[0]["lr"] == 0

    def test_a_file_of_before_agrees_however_often_a_run_is_resumed(self, train: Line, cli: Line) -> None:
        train("--num_epochs 1 --output_dir one")
        cli("train --config one/config.yaml --num_epochs 2 --output_dir two")
        for epochs in (3, 4, 5):
            done = cli(f"train --config one/config.yaml --output_dir two --resume --num_epochs {epochs}")
            assert (done.code, len(history("two"))) == (0, epochs)

    def test_a_config_file_of_the_run_agrees_with_it(self, train: Line, cli: Line) -> None:
        train("--loss_fn infonce --lr 2e-4 --num_epochs 1 --output_dir run")
        assert cli("train --resume --output_dir run --config run/config.yaml --num_epochs 2").code == 0

    def test_a_config_file_still_agrees_after_a_resume_that_trained_nothing(self, train: Line, cli: Line) -> None:
        train("--num_epochs 1 --output_dir run")
        assert cli("train --resume --output_dir run").code == 0
        assert cli("train --resume --output_dir run --config run/config.yaml --num_epochs 2").code == 0

    def test_prefixes_are_the_same_as_a_list_and_with_spaces(self, train: Line, cli: Line) -> None:
        train("--matryoshka_dims 2,3 --num_epochs 1 --output_dir run")
        Path("prefixes.yaml").write_text("matryoshka_dims: [2, 3]\n")
        for given in ("--matryoshka-dims '2, 3'", "--config prefixes.yaml"):
            assert cli(f"train --resume --output_dir run {given}").code == 0
        done = cli("train --resume --output_dir run --matryoshka_dims 2")
        assert "matryoshka_dims is 2,3 in the checkpoint, 2 was asked for" in done.err

    def test_the_same_data_elsewhere_is_the_same_data(self, train: Line, cli: Line) -> None:
        train("--num_epochs 1 --output_dir run")
        Path("pairs.npz").rename("moved.npz")
        assert cli("train --resume --output_dir run --data moved.npz --num_epochs 2").code == 0

    def test_the_rows_of_an_evaluation_may_change(self, train: Line, cli: Line) -> None:
        train("--num_epochs 1 --output_dir run")
        assert cli("train --resume --output_dir run --eval_batch 10 --num_epochs 2").code == 0
        assert settings()["eval_batch"] == 10

    def test_best_is_reported_from_before_when_nothing_better_came(self, train: Line, cli: Line) -> None:
        train("--lr 1e-30 --weight_decay 0 --num_epochs 1 --output_dir run")
        done = cli("train --resume --output_dir run --num_epochs 3")
        assert "Best epoch 1 of 3, saved as run/best.pt" in done.out


class TestRefusals:
    @pytest.fixture(autouse=True)
    def _run(self, train: Line) -> None:
        train("--loss_fn infonce --num_epochs 1 --output_dir run")

    def refused(self, cli: Line, line: str) -> str:
        before = {path: path.read_bytes() for path in Path("run").iterdir()}
        done = cli(f"train --resume {line}")
        assert (done.code, done.out) == (2, "")
        assert {path: path.read_bytes() for path in Path("run").iterdir()} == before
        assert done.err.startswith("error: ")
        return done.err.removeprefix("error: ").rstrip("\n")

    def test_another_loss(self, cli: Line) -> None:
        message = "--resume: the checkpoint was trained with loss_fn infonce, not cosine"
        assert self.refused(cli, "--checkpoint run/last.pt --loss_fn cosine") == message

    def test_other_settings_each_with_both_values(self, cli: Line) -> None:
        asked = "--center --lr 1e-2 --temperature 0.1 --num_epochs 9"
        lines = self.refused(cli, f"--output_dir run {asked}").splitlines()
        assert lines[0] == "--resume continues a run with its own settings:"
        assert sorted(lines[1:]) == [
            "center is False in the checkpoint, True was asked for",
            "lr is 0.0005 in the checkpoint, 0.01 was asked for",
            "temperature is 0.07 in the checkpoint, 0.1 was asked for",
        ]

    def test_other_data(self, cli: Line) -> None:
        np.savez("other.npz", **sample_arrays(seed=1))
        message = self.refused(cli, "--output_dir run --data other.npz --num_epochs 2")
        path = re.escape(str(Path("other.npz").resolve()))
        digests = r"SHA-256 [0-9a-f]{12}, checkpoint [0-9a-f]{12}"
        assert re.fullmatch(rf"--resume: {path} is not the data of the checkpoint \({digests}\)", message)

    def test_a_damaged_state(self, cli: Line) -> None:
        content = bytearray(Path("run/last.pt").read_bytes())
        content[1000] ^= 4
        Path("run/last.pt").write_bytes(content)
        message = "checkpoint run/last.pt: damaged, its content does not match its SHA-256"
        assert self.refused(cli, "--output_dir run") == message

    def test_a_model_without_a_training_state(self, cli: Line) -> None:
        message = "--checkpoint run/best.pt: holds no training state to resume from; use last.pt of the run"
        assert self.refused(cli, "--checkpoint run/best.pt") == message

    def test_a_copy_beside_the_state_that_would_be_read_instead(self, cli: Line) -> None:
        shutil.copy("run/last.pt", "run/copy.pt")
        message = "--checkpoint run/copy.pt: not the folder's last.pt; resume it into another --output-dir"
        assert self.refused(cli, "--checkpoint run/copy.pt --num_epochs 2") == message

    def test_a_folder_that_holds_another_run(self, train: Line, cli: Line) -> None:
        train("--num_epochs 1 --output_dir other")
        message = "--output-dir other: holds another run; --overwrite discards it"
        assert self.refused(cli, "--checkpoint run/last.pt --output_dir other --num_epochs 2") == message
        assert settings("other")["loss_fn"] == "cosine"
        assert cli("train --resume --checkpoint run/last.pt --output_dir other --num_epochs 2 --overwrite").code == 0
        assert settings("other")["loss_fn"] == "infonce"

    def test_a_folder_below_a_file(self, cli: Line) -> None:
        message = "--output-dir pairs.npz/run: can not be written: Not a directory"
        assert self.refused(cli, "--checkpoint run/last.pt --output_dir pairs.npz/run") == message

    def test_a_run_that_is_not_there(self, cli: Line) -> None:
        message = "checkpoint none/last.pt: can not be read: No such file or directory"
        assert self.refused(cli, "--output_dir none") == message

    def test_no_run_at_all(self, cli: Line) -> None:
        assert self.refused(cli, "") == "--resume needs --checkpoint RUN/last.pt, or the run's --output-dir"

    def test_a_history_that_was_lost(self, cli: Line) -> None:
        Path("run/history.jsonl").unlink()
        message = "run/history.jsonl: holds 0 epochs, last.pt 1; the history is damaged"
        assert self.refused(cli, "--output_dir run --num_epochs 2") == message


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_after_its_epoch_and_it_continues_to_the_same_bits(
    train: Line, cli: Line, signum: signal.Signals, code: int
) -> None:
    program = str(Path(sys.executable).with_name("losstune"))
    line = "train --data pairs.npz --threads 1 --dropout 0.2 --num_epochs 1000000 --output_dir run"
    environment = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(
        [program, *line.split()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for printed in process.stdout:
            if printed.startswith("Epoch 3/"):
                break
        process.send_signal(signum)
        rest = process.stdout.read()
    assert process.returncode == code
    assert "Traceback" not in rest
    epoch = load_checkpoint(Path("run/last.pt"))["state"]["epoch"]
    assert rest.splitlines()[-1] == f"Stopped after epoch {epoch}; --resume --output-dir run continues"
    assert len(history()) == epoch >= 3

    assert cli(f"train --resume --output_dir run --num_epochs {epoch + 2}").code == 0
    train(f"--threads 1 --dropout 0.2 --num_epochs {epoch + 2} --output_dir straight")
    assert timeless(history()) == timeless(history("straight"))
    assert equal(best_weights("run"), best_weights("straight"))


def test_scoring_the_test_split_changes_no_epoch(train: Line, cli: Line) -> None:
    train("--num_epochs 2 --output_dir run")
    train("--num_epochs 2 --output_dir tested --test")
    assert timeless(history("run")) == timeless(history("tested"))


def test_a_sample_of_the_validation_rows_is_told_once(cli: Line) -> None:
    arrays = sample_arrays(rows=6000)
    np.savez("many.npz", **arrays)  # type: ignore[arg-type]
    line = "train --data many.npz --batch_size 1024 --num_epochs 2 --model.depth 0"
    done = cli(f"{line} --eval_queries 1000 --output_dir some")
    gallery = len(split_rows(make_pairs(arrays, "x"), 0).val)
    assert done.out.count("Validation") == 1
    assert done.out.startswith(f"Validation: a sample of 1,000 rows, each against all {gallery:,} targets\n")
    assert f"Val Retrieval among {gallery}: " in done.out
    assert "Validation" not in cli(f"{line} --eval_queries 1300 --output_dir all").out
