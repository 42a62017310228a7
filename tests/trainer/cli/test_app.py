"""``losstune train`` through its entry point: the guide's command lines, what they print, write and refuse."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.remedies import LONG_ENOUGH
from losstune.trainer.data.resident import split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.run.history import read_history
from losstune.trainer.run.trained_model import load_model
from losstune.trainer.score.metrics import embedding_metrics
from tests.trainer.conftest import Line
from tests.trainer.samples import ALLOWED_LOSSES, sample_arrays

LOSSES = ["mse", "cosine", "cosine_mse", "infonce"]
NUMBER = r"-?\d+\.\d{4}"
PERCENT = r"\d+\.\d{2}%"
ACCURACY = rf", InfoNCE Acc: {PERCENT} \(chance 3\.12%\)"
COMPONENTS = rf", Cosine x 0\.7: {NUMBER}, MSE x 0\.3: {NUMBER}"
OWN = {"mse": "", "cosine": "", "cosine_mse": COMPONENTS, "infonce": ACCURACY}
RETRIEVAL = (
    rf"MRR: {NUMBER} \(chance {NUMBER}\), Recall@1: {PERCENT}, Recall@5: {PERCENT}, Recall@10: {PERCENT} "
    rf"\(chance@1 {PERCENT}\), Median Rank: \d+(\.5)?"
)
GEOMETRY_LINE = (
    r"Test Geometry: effective rank \d\.\d of 5, hubness -?\d\.\d\d, alignment \d\.\d\d, uniformity -\d\.\d\d"
)


def settings(folder: str = "run") -> dict[str, Any]:
    return read_config(Path(folder, "config.yaml")).settings


def history(folder: str = "run") -> list[dict[str, float]]:
    return read_history(Path(folder, "history.jsonl"))


def best_weights(folder: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(Path(folder, "best.pt"))["model"]
    return found


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TestTheGuide:
    @pytest.mark.parametrize("loss_fn", LOSSES)
    def test_every_epoch_prints_its_lines(self, train: Line, loss_fn: str) -> None:
        done = train(f"--loss_fn {loss_fn} --num_epochs 2 --output_dir run")
        epoch = [
            r"Epoch [12]/2",
            rf"Train Loss: {NUMBER}, Cosine Sim: {NUMBER}{OWN[loss_fn]}",
            rf"Val Loss: {NUMBER}, Cosine Sim: {NUMBER}, MSE: {NUMBER}{OWN[loss_fn]}",
            rf"Val Retrieval among 32: {RETRIEVAL}",
        ]
        assert done.code == 0
        assert done.err == ""
        lines = done.out.splitlines()
        for pattern, line in zip([*epoch, *epoch, r"Best epoch [12] of 2, saved as run/best\.pt"], lines, strict=True):
            assert re.fullmatch(pattern, line)

    def test_printed_numbers_are_those_of_the_history(self, train: Line) -> None:
        printed = train("--loss_fn infonce --num_epochs 1 --output_dir run").out
        (record,) = history()
        assert f"Train Loss: {record['train/loss']:.4f}, Cosine Sim: {record['train/cosine_sim']:.4f}" in printed
        assert f"InfoNCE Acc: {record['val/infonce_acc']:.2%} " in printed
        assert f"MRR: {record['val/mrr']:.4f}" in printed

    def test_without_options_cosine_trains_on_digits(self, cli: Line) -> None:
        assert cli("train --num_epochs 1").code == 0
        found = settings("runs/cosine")
        assert (found["loss_fn"], found["data"], found["batch_size"], found["lr"]) == ("cosine", "digits", 16, 1e-3)

    def test_the_experiment_template_runs_every_loss_at_its_start(self, train: Line) -> None:
        for loss_fn in LOSSES:
            assert train(f"--loss_fn {loss_fn} --num_epochs 1 --output_dir experiments/{loss_fn}").code == 0
        starts = [(settings(f"experiments/{x}")["batch_size"], settings(f"experiments/{x}")["lr"]) for x in LOSSES]
        assert starts == [(16, 1e-3), (16, 1e-3), (16, 1e-3), (32, 5e-4)]

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (
                "--loss_fn cosine_mse --cosine_weight 0.8 --mse_weight 0.2",
                {"loss_fn": "cosine_mse", "cosine_weight": 0.8, "mse_weight": 0.2},
            ),
            (
                "--loss_fn infonce --temperature 0.05 --batch_size 64 --lr 7e-4",
                {"loss_fn": "infonce", "temperature": 0.05, "batch_size": 64, "lr": 7e-4},
            ),
            ("--loss_fn mse --batch_size 4 --lr 1e-3", {"loss_fn": "mse", "batch_size": 4, "lr": 1e-3}),
        ],
    )
    def test_its_options_reach_the_run(self, cli: Line, line: str, expected: dict[str, Any]) -> None:
        assert cli(f"train {line} --num_epochs 1 --output_dir run").code == 0
        assert {name: settings()[name] for name in expected} == expected

    def test_underscores_and_dashes_mean_the_same(self, train: Line) -> None:
        line = "--loss_fn infonce --batch_size 16 --num_epochs 1 --hidden_dim 8 --no-layer_norm --output_dir"
        assert train(f"{line} underscores").code == 0
        assert train(f"{line.replace('_', '-')} dashes").code == 0
        assert settings("underscores") == settings("dashes")
        assert equal(best_weights("underscores"), best_weights("dashes"))

    @pytest.mark.parametrize(
        ("loss_fn", "batch_size", "smallest"), [("cosine", 3, 4), ("mse", 3, 4), ("infonce", 15, 16)]
    )
    def test_a_batch_under_the_smallest_is_refused(
        self, train: Line, loss_fn: str, batch_size: int, smallest: int
    ) -> None:
        done = train(f"--loss_fn {loss_fn} --batch_size {batch_size} --output_dir run")
        rule = f"{loss_fn} needs at least {smallest} ({16 if smallest == 4 else 32} or more is recommended)"
        assert (done.code, done.err) == (2, f"error: batch_size: found {batch_size}; {rule}\n")
        assert not Path("run").exists()


class TestOutput:
    def test_the_folder_gets_the_four_files(self, train: Line) -> None:
        train("--num_epochs 2 --output_dir out/run")
        names = sorted(path.name for path in Path("out/run").iterdir())
        assert names == ["best.pt", "config.yaml", "history.jsonl", "last.pt"]
        assert [record["epoch"] for record in history("out/run")] == [1, 2]

    def test_without_one_each_run_gets_its_own(self, train: Line) -> None:
        for _ in range(3):
            assert train("--loss_fn mse --num_epochs 1").code == 0
        assert sorted(path.name for path in Path("runs").iterdir()) == ["mse", "mse-2", "mse-3"]

    def test_a_folder_that_holds_a_run_is_refused(self, train: Line) -> None:
        train("--num_epochs 1 --output_dir run")
        before = Path("run/last.pt").read_bytes()
        done = train("--num_epochs 1 --output_dir run")
        message = "--output-dir run: holds a run; --resume continues it, --overwrite discards it"
        assert (done.code, done.err) == (2, f"error: {message}\n")
        assert Path("run/last.pt").read_bytes() == before

    def test_overwrite_discards_a_run(self, train: Line) -> None:
        train("--num_epochs 2 --output_dir run")
        assert train("--loss_fn mse --num_epochs 1 --output_dir run --overwrite").code == 0
        assert settings()["loss_fn"] == "mse"
        assert len(history()) == 1

    def test_json_goes_alone_to_stdout(self, train: Line) -> None:
        done = train("--num_epochs 3 --output_dir run --json")
        found = json.loads(done.out)
        best = max(history(), key=lambda record: record["val/mrr"])
        assert (found["output_dir"], found["end"], found["epochs"]) == ("run", "epochs", 3)
        assert found["best_epoch"] == best["epoch"]
        assert {name: found[name] for name in best if "/" in name} == {n: v for n, v in best.items() if "/" in n}
        assert done.err.count("Train Loss: ") == 3

    def test_the_same_line_gives_the_same_run(self, train: Line) -> None:
        for folder in ("one", "two"):
            train(f"--loss_fn infonce --dropout 0.2 --num_epochs 2 --output_dir {folder}")
        assert equal(best_weights("one"), best_weights("two"))

    def test_diverging_is_said_and_exits_1_without_a_best_epoch(self, cli: Line) -> None:
        arrays = sample_arrays()
        arrays["inputs"][:, 0] = np.linspace(0, 3e38, len(arrays["inputs"]))
        np.savez("huge.npz", **arrays)
        done = cli("train --data huge.npz --no-standardize --output_dir run")
        assert done.code == 1
        assert "Diverged in epoch 1: the loss is not finite; try a smaller lr, or --debug-nan, which says" in done.out
        looked = cli("train --data huge.npz --no-standardize --output_dir looked --debug-nan")
        assert looked.code == 1
        assert "Diverged in epoch 1: first " in looked.out


class TestColumns:
    def test_are_named_once_and_known_from_then_on(self, cli: Line) -> None:
        arrays = sample_arrays()
        np.savez("named.npz", anchor=arrays["inputs"], positive=arrays["targets"], text=np.arange(200))
        done = cli("train --data named.npz --columns inputs=anchor,targets=positive --num_epochs 1 --output_dir run")
        assert f"Note: not used of {Path('named.npz').resolve()}: text" in done.out.splitlines()
        assert read_config(Path("run/config.yaml")).settings["columns"] == "inputs=anchor,targets=positive"
        assert cli("train --config run/config.yaml --output_dir again").code == 0
        assert equal(best_weights("run"), best_weights("again"))
        for data in ("named.npz --columns inputs=anchor", "pairs.npz"):
            cli(f"predict --checkpoint run/best.pt --data {data} --output {data[:5]}.npy")
        assert Path("named.npy").read_bytes() == Path("pairs.npy").read_bytes()

    def test_a_split_without_val_is_told(self, cli: Line) -> None:
        np.savez("parts.npz", **sample_arrays(), split=np.where(np.arange(200) < 150, "train", "test"))
        line = "a quarter of the train ids are, drawn by the split's seed"
        done = cli("train --data parts.npz --num_epochs 1 --output_dir run")
        assert f"Note: no row of {Path('parts.npz').resolve()} is val: {line}" in done.out.splitlines()

    def test_a_wrong_one_is_one_message(self, cli: Line) -> None:
        done = cli("train --data pairs.npz --columns inputs=query --num_epochs 1")
        message = (
            f"{Path('pairs.npz').resolve()}: no column 'query', which is to be inputs; found inputs, targets"
            ": --columns inputs=NAME"
        )
        assert (done.code, done.err) == (2, f"error: {message}\n")


class TestTestSplit:
    def test_is_scored_only_when_asked_to(self, train: Line) -> None:
        assert "Test" not in train("--num_epochs 1 --output_dir run").out
        assert not any(name.startswith("test/") for name in history()[0])

    def test_is_scored_with_the_best_model(self, train: Line) -> None:
        done = train("--num_epochs 2 --output_dir run --test")
        pairs, trained = load_pairs("pairs.npz"), load_model(Path("run/best.pt"))
        split = split_tensors(pairs, split_rows(pairs, 0).test, torch.device("cpu"))
        scores = embedding_metrics(trained.embeddings(split.inputs), split.targets, split.gallery, split.positive)
        lines = done.out.splitlines()[-3:]
        assert lines[0] == f"Test Cosine Sim: {scores['cosine_sim']:.4f}, MSE: {scores['mse']:.4f}"
        assert re.fullmatch(rf"Test Retrieval among {len(split.gallery)}: {RETRIEVAL}", lines[1])
        assert f"MRR: {scores['mrr']:.4f} " in lines[1]
        assert re.fullmatch(GEOMETRY_LINE, lines[2])

    def test_is_in_the_json(self, train: Line) -> None:
        found = json.loads(train("--num_epochs 1 --output_dir run --test --json").out)
        assert {"test/cosine_sim", "test/mse", "test/mrr", "test/recall_at_1", "test/median_rank"} <= set(found)
        assert {"test/mrr_at_10", "test/ndcg_at_10"} <= set(found)
        assert {"test/effective_rank", "test/hubness", "test/alignment", "test/uniformity"} <= set(found)

    def test_notes_a_collapsed_model(self, cli: Line) -> None:
        arrays = sample_arrays()
        np.savez("blind.npz", targets=arrays["targets"], inputs=np.ones_like(arrays["inputs"]))
        done = cli("train --data blind.npz --num_epochs 1 --output_dir run --test")
        notes = [line for line in done.out.splitlines() if line.startswith("Note: ")]
        assert re.fullmatch(r"Note: collapsed: .* point nearly the same way \(uniformity -?0\.000\)", notes[0])

    def test_without_rows_is_refused(self, cli: Line) -> None:
        np.savez("no_test.npz", **sample_arrays(), split=np.array(["train", "val"] * 100))
        done = cli("train --data no_test.npz --num_epochs 1 --output_dir run --test")
        assert done.code == 2
        assert done.err == f"error: {Path('no_test.npz').resolve()}: the test split has no rows to score\n"


class TestFit:
    def test_train_and_val_leaves_nothing_to_validate_on(self, train: Line) -> None:
        done = train("--fit train+val --num_epochs 2 --output_dir run")
        assert done.code == 0
        assert "Val" not in done.out
        assert "Best epoch 2 of 2, saved as run/best.pt" in done.out
        assert not any(name.startswith("val/") for record in history() for name in record)

    def test_train_and_val_can_be_scored_on_the_test_split(self, train: Line) -> None:
        assert "Test Retrieval among" in train("--fit train+val --num_epochs 1 --output_dir run --test").out


class TestConfigFile:
    def test_a_run_is_repeated_from_its_config(self, train: Line, cli: Line) -> None:
        train("--loss_fn infonce --temperature 0.1 --dropout 0.2 --seed 3 --num_epochs 2 --output_dir one")
        assert cli("train --config one/config.yaml --output_dir two").code == 0
        assert settings("one") == settings("two")
        assert equal(best_weights("one"), best_weights("two"))

    def test_options_override_it(self, train: Line, cli: Line) -> None:
        train("--loss_fn infonce --temperature 0.1 --num_epochs 2 --output_dir one")
        cli("train --config one/config.yaml --temperature 0.2 --num_epochs 1 --output_dir two")
        changed = {"temperature": 0.2, "num_epochs": 1}
        assert settings("two") == settings("one") | changed

    def exported(self, **source: object) -> None:
        lines = "".join(f"  {name}: {value}\n" for name, value in source.items())
        Path("best.yaml").write_text(f"data: pairs.npz\nnum_epochs: 9\nlr: 2e-3\nsource:\n{lines}")

    def test_an_exported_setting_trained_on_all_rows_stops_at_its_best_epoch(self, cli: Line) -> None:
        self.exported(best_epoch=3)
        done = cli("train --config best.yaml --fit train+val --output_dir run")
        assert "Training 3 epochs, after which the study found this setting at its best" in done.out
        found = settings()
        assert (len(history()), found["num_epochs"], found["schedule_epochs"]) == (3, 3, 9)

    def test_and_goes_no_further_when_it_is_resumed(self, cli: Line) -> None:
        self.exported(best_epoch=3)
        line = "train --config best.yaml --fit train+val --output_dir run"
        cli(line)
        before = Path("run/best.pt").read_bytes()
        assert cli(f"{line} --resume").code == 0
        assert (len(history()), settings()["num_epochs"]) == (3, 3)
        assert Path("run/best.pt").read_bytes() == before
        assert cli(f"{line} --resume --num_epochs 4").code == 0
        assert len(history()) == 4

    def test_null_unsets_what_it_says(self, train: Line, cli: Line) -> None:
        Path("mine.yaml").write_text("data: pairs.npz\nclip_norm: 0.5\npatience: 3\naverage_epochs: 1\n")
        line = "train --config mine.yaml --num_epochs 1 --output_dir run"
        assert cli(f"{line} --clip-norm null --patience ~ --average_epochs NULL").code == 0
        assert [settings()[name] for name in ("clip_norm", "patience", "average_epochs")] == [None] * 3

    def test_an_exported_setting_is_trained_as_long_as_is_asked(self, cli: Line) -> None:
        self.exported(best_epoch=3)
        cli("train --config best.yaml --fit train+val --num_epochs 2 --output_dir run")
        assert len(history()) == 2
        cli("train --config best.yaml --num_epochs 4 --output_dir other")
        assert len(history("other")) == 4

    def test_other_data_than_the_studys_is_noted(self, cli: Line) -> None:
        note = "Note: pairs.npz is not the data that these settings were tuned on"
        self.exported(data_digest="'0123'")
        assert note in cli("train --config best.yaml --num_epochs 1 --output_dir one").out
        self.exported(data_digest=f"'{load_pairs('pairs.npz').digest}'")
        assert note not in cli("train --config best.yaml --num_epochs 1 --output_dir two").out


REFUSED = {
    "unknown loss": ("--loss_fn quadruplet", "loss_fn: found 'quadruplet'; allowed: " + ALLOWED_LOSSES),
    "another loss's option": (
        "--temperature 0.1",
        "temperature belongs to full_softmax, infonce, infonce_cosine, not to cosine",
    ),
    "limit": ("--lr 0", "lr: found 0.0; should be greater than 0"),
    "not a number": ("--lr nan", "lr: found nan; should be a finite number"),
    "neither a number nor null": ("--clip_norm abc", "clip_norm: found 'abc'; should be a number, or null"),
    "neither whole nor null": ("--patience 1.5", "patience: found '1.5'; should be a whole number, or null"),
    "choice": ("--schedule linear", "schedule: found 'linear'; should be 'constant' or 'cosine'"),
    "encoder": ("--dropout 1", "model.dropout: found 1.0; should be less than or equal to 0.95"),
    "both weights zero": (
        "--loss_fn cosine_mse --cosine_weight 0 --mse_weight 0",
        "cosine_weight and mse_weight are both 0: nothing would be trained",
    ),
    "missing data": ("--data missing.npz", "--data missing.npz: no such file"),
    "no data": (
        "--data nonsense",
        "--data 'nonsense': expected digits, a file ending in .npz, .safetensors, .parquet, .pq, .arrow, .feather, "
        ".jsonl, a folder of .npy files or of files of rows, a quoted pattern of such files, "
        "or package.module:function",
    ),
    "missing config": ("--config missing.yaml", "missing.yaml: can not be read: No such file or directory"),
    "folder below a file": ("--output_dir pairs.npz/run", "pairs.npz/run: can not be written: Not a directory"),
    "checkpoint alone": (
        "--checkpoint run/last.pt",
        "--checkpoint is where to --resume from: give both, or neither",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize(("line", "message"), REFUSED.values(), ids=REFUSED)
    def test_a_mistake_is_one_message_and_exit_code_2(self, cli: Line, line: str, message: str) -> None:
        done = cli(f"train --output_dir run {line}")
        assert (done.code, done.out, done.err) == (2, "", f"error: {message}\n")
        assert not Path("run").exists()

    @pytest.mark.parametrize(
        ("line", "word"),
        [
            ("--temprature 0.1", "--temprature"),
            ("--lr abc", "--lr"),
            ("extra", "extra"),
            ("--batch_size 1.5", "--batch-size"),
            ("--lr null", "--lr"),
        ],
    )
    def test_a_word_it_does_not_know_is_exit_code_2_too(self, cli: Line, line: str, word: str) -> None:
        done = cli(f"train {line}")
        assert done.code == 2
        assert word in done.err

    def test_too_few_rows_for_the_batch(self, train: Line) -> None:
        done = train("--loss_fn infonce --batch_size 64 --output_dir run")
        path = Path("pairs.npz").resolve()
        message = (
            f"{path}: the val split has 32 rows, fewer than one batch of 64; use --batch_size 32 or less, or more data"
        )
        assert (done.code, done.err) == (2, f"error: {message}\n")

    def test_a_bad_row_is_found_before_any_training(self, cli: Line) -> None:
        arrays = sample_arrays()
        arrays["targets"][17] = 0
        np.savez("zero.npz", **arrays)
        done = cli("train --data zero.npz --output_dir run")
        message = f"targets row 17 is all zeros, or nearly (1 such rows); a target needs a direction{LONG_ENOUGH}"
        assert (done.code, done.err) == (2, f"error: {Path('zero.npz').resolve()}: {message}\n")
        assert not Path("run").exists()

    def test_a_gpu_that_is_not_there(self, train: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        done = train("--device cuda --output_dir run")
        message = "device: found cuda, but torch sees no GPU here; allowed: auto, cpu"
        assert (done.code, done.err) == (2, f"error: {message}\n")


@pytest.mark.parametrize("command", ["train", "predict"])
def test_help_is_that_of_the_command(cli: Line, command: str) -> None:
    done = cli(f"{command} --help")
    assert (done.code, done.err) == (0, "")
    assert f"losstune {command} [OPTIONS]" in done.out
    assert "--checkpoint" in done.out


def test_the_installed_command_trains_and_refuses(tmp_path: Path) -> None:
    np.savez(tmp_path / "pairs.npz", **sample_arrays())
    command = [str(Path(sys.executable).with_name("losstune")), "train", "--data", "pairs.npz", "--num_epochs", "1"]
    done = subprocess.run([*command, "--threads", "1"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Best epoch 1 of 1, saved as runs/cosine/best.pt"
    done = subprocess.run([*command, "--lr", "0"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: lr: found 0.0; should be greater than 0\n"


def test_every_setting_stands_in_the_written_config(train: Line) -> None:
    train("--num_epochs 1 --output_dir run")
    expected = TrainConfig.from_flat({"data": "pairs.npz", "num_epochs": 1}).flat()
    assert settings() == expected | {"threads": torch.get_num_threads(), "split_by": "ids", "answers": "any"}


def test_leaks_stand_in_json_and_before_the_first_epoch(train: Line) -> None:
    arrays = sample_arrays()
    np.savez("twice.npz", inputs=np.repeat(arrays["inputs"][:100], 2, axis=0), targets=arrays["targets"])
    done = train("--data twice.npz --num_epochs 1 --output_dir run --json")
    told = json.loads(done.out)["data"]
    assert [one["name"] for one in told] == ["equal_inputs", "inputs_of_several_targets"]
    assert done.err.index("Warning: ") < done.err.index("Epoch 1/1")
    assert "data" not in json.loads(train("--num_epochs 1 --output_dir other --json").out)


def test_how_data_is_split_stands_in_the_run_and_is_kept_by_its_file(train: Line) -> None:
    np.savez("grouped.npz", **sample_arrays(), groups=np.arange(200) // 4)
    done = train("--data grouped.npz --num_epochs 1 --output_dir run")
    assert "Note: split by groups: 50 blocks of rows, each in one split" in done.out
    assert (settings()["split_by"], settings()["answers"]) == ("groups", "any")
    again = train("--config run/config.yaml --output_dir again --split_by ids")
    assert "blocks" not in again.out
    assert settings("again")["split_by"] == "ids"
