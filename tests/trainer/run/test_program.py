"""Training from a program: arrays in memory, settings as a mapping, what comes back; and scores of any embeddings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losstune.trainer.base.errors import LosstuneError
from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.program import score, train
from losstune.trainer.run.trained_model import load_model
from tests.trainer.samples import sample_arrays

SETTINGS = {"loss_fn": "infonce", "num_epochs": 2, "batch_size": 16, "model.hidden_dim": 8}


@pytest.fixture
def arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    monkeypatch.chdir(tmp_path)
    return sample_arrays()


def test_arrays_in_memory_train_the_model_that_a_file_of_them_trains(arrays, capsys: pytest.CaptureFixture) -> None:
    np.savez("pairs.npz", **arrays)
    threads = torch.get_num_threads()
    memory = train(SETTINGS, arrays, output_dir="memory", quiet=True)
    file = train(TrainConfig.from_flat(SETTINGS), "pairs.npz", output_dir="file", quiet=True)
    assert memory.metrics == file.metrics
    assert memory.summary() | {"output_dir": ""} == file.summary() | {"output_dir": ""}
    assert (memory.end, memory.epochs) == ("epochs", 2)
    assert [record["epoch"] for record in memory.history()] == [1, 2]
    assert np.array_equal(
        memory.model().predict(arrays["inputs"]), load_model("file/best.pt").predict(arrays["inputs"])
    )
    assert read_config(Path("memory/config.yaml")).settings["data"] == "arrays in memory"
    assert torch.get_num_threads() == threads
    assert capsys.readouterr() == ("", "")


def test_a_run_goes_on_with_the_same_arrays_and_options_come_first(arrays) -> None:
    train(SETTINGS, arrays, output_dir="run", quiet=True)
    longer = train(None, arrays, output_dir="run", resume=True, num_epochs=np.int64(3), quiet=True)
    assert longer.epochs == 3
    assert longer.config.loss.name == "infonce"
    assert train(SETTINGS, arrays, loss_fn="cosine", num_epochs=1, quiet=True).output_dir == Path("runs/cosine")


def test_a_run_goes_on_with_the_config_that_it_began_with_however_often(arrays) -> None:
    config = TrainConfig.from_flat(SETTINGS)
    for epochs in (2, 3, 4):
        done = train(config, arrays, output_dir="run", resume=epochs > 2, num_epochs=epochs, quiet=True)
        assert done.epochs == epochs


def test_a_final_run_goes_no_further_when_it_is_resumed(arrays) -> None:
    Path("best.yaml").write_text("loss_fn: mse\nnum_epochs: 9\nsource: {best_epoch: 2}\n")
    for resume in (False, True):
        done = train("best.yaml", arrays, fit="train+val", output_dir="run", resume=resume, quiet=True)
        assert (done.epochs, done.best_epoch) == (2, 2)


def test_the_test_split_is_scored_only_when_asked(arrays) -> None:
    run = train(SETTINGS, arrays, output_dir="run", quiet=True)
    assert not any(name.startswith("test/") for name in run.metrics)
    tested = train(SETTINGS, arrays, output_dir="run", overwrite=True, test=True, quiet=True)
    assert tested.metrics["test/mrr"] == pytest.approx(score(tested.model().predict(arrays["inputs"]), arrays)["mrr"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": {"lr": 0.0}}, r"^lr: found 0.0; should be greater than 0"),
        ({"learning_rate": 1.0}, r"^learning_rate is not a setting"),
        ({"data": "no.npz"}, r"^data no.npz: no such file$"),
        ({"checkpoint": "last.pt"}, r"^checkpoint is where to resume from: give both, or neither$"),
        ({"resume": True}, r"^resume needs checkpoint RUN/last.pt, or the run's output_dir$"),
        (
            {"data": {"inputs": np.ones((3, 2))}},
            r"no array 'targets'; found inputs; if it has another name: columns targets=NAME$",
        ),
        ({"data": {"inputs": [[1, 2], [3]]}}, r"^data: expected arrays: inputs: "),
    ],
)
def test_errors_speak_of_arguments(arrays, arguments: dict, message: str) -> None:
    with pytest.raises(LosstuneError, match=message):
        train(**{"data": arrays, "quiet": True, **arguments})


class TestScore:
    def test_targets_themselves_are_found_first_on_the_rows_of_the_split(self, arrays) -> None:
        found = score(arrays["targets"], arrays)
        assert found["mrr"] == found["recall_at_1"] == 1.0
        rows = split_rows(load_pairs(arrays), 0)
        spoilt = arrays["targets"].copy()
        spoilt[rows.val] *= -1
        assert score(spoilt, arrays)["mrr"] == 1.0
        assert score(spoilt, load_pairs(arrays), split="val")["cosine_sim"] == pytest.approx(-1)

    def test_tensors_are_scored_as_a_model_gives_them(self, arrays) -> None:
        given = torch.from_numpy(arrays["targets"].astype(np.float32)).requires_grad_()
        assert score(given * 1, arrays) == score(arrays["targets"], arrays)
        assert score(given.bfloat16(), arrays) == score(given.bfloat16().float().detach().numpy(), arrays)

    @pytest.mark.parametrize(
        ("predictions", "options", "message"),
        [
            ("others", {}, r"^predictions: found shape \(3, 2\); the targets have \(\d+, \d+\)$"),
            ("the targets", {"split": "dev"}, r"^split: found 'dev'; allowed: train, val, test$"),
            ("no numbers", {}, r"^predictions: test split: .*row 0"),
            ("text", {}, r"^predictions: found type <U1; expected float$"),
            ("complex", {}, r"^predictions: found type complex\d+; expected float$"),
            ("ragged", {}, r"^predictions: setting an array .*fill them up: "),
        ],
    )
    def test_what_can_not_be_scored_is_refused(self, arrays, predictions, options, message: str) -> None:
        targets = arrays["targets"]
        given = {
            "the targets": targets,
            "no numbers": targets * np.nan,
            "others": np.ones((3, 2)),
            "text": [["a", "b"]],
            "complex": targets * 1j,
            "ragged": [[1.0], [2.0, 3.0]],
        }
        with pytest.raises(LosstuneError, match=message):
            score(given[predictions], arrays, **options)


class TestPredict:
    def test_lists_and_arrays_of_the_right_shape_only(self, arrays) -> None:
        model = train(SETTINGS, arrays, output_dir="run", quiet=True).model()
        few = arrays["inputs"][:3]
        assert np.allclose(model.predict(few.tolist()), model.predict(few))
        assert model.predict(few).dtype == np.float32
        with pytest.raises(LosstuneError, match=r"^inputs: one input has shape \(2,\); the model takes \(\d+,\)$"):
            model.predict(np.ones((4, 2)))
        with pytest.raises(LosstuneError, match=r"^arrays in memory: inputs"):
            model.predict(few * np.nan)
