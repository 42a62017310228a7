"""``losstune predict``: one row per input row, in order, equal to what the model gives."""

import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from losstune.trainer.base.errors import LosstuneError
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.checkpoint import load_checkpoint, save_checkpoint
from losstune.trainer.run.trained_model import load_model
from tests.trainer.conftest import Line
from tests.trainer.own_models import HERE
from tests.trainer.samples import sample_arrays


@pytest.fixture
def run(train: Line) -> str:
    """A trained run in the folder ``run``."""
    train("--loss_fn infonce --num_epochs 2 --output_dir run")
    return "run"


@pytest.mark.usefixtures("run")
class TestPredict:
    def predict(self, cli: Line, line: str = "--data pairs.npz --output p.npy") -> np.ndarray:
        assert cli(f"predict --checkpoint run/best.pt {line}").code == 0
        return np.load("p.npy")

    def test_gives_one_row_per_input_row_in_order(self, cli: Line) -> None:
        found = self.predict(cli)
        trained = load_model(Path("run/best.pt"))
        expected = trained.embeddings(torch.from_numpy(sample_arrays()["inputs"])).numpy()
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)

    def test_says_what_it_wrote(self, cli: Line) -> None:
        done = cli("predict --checkpoint run/best.pt --data pairs.npz --output p.npy")
        assert (done.out, done.err) == ("Wrote p.npy: 200 rows of 5 dimensions, float32\n", "")

    def test_a_pipe_takes_the_rows_and_the_words_go_elsewhere(self, cli: Line) -> None:
        os.mkfifo("pipe")
        with ThreadPoolExecutor(1) as reader:
            read = reader.submit(Path("pipe").read_bytes)
            done = cli("predict --checkpoint run/best.pt --data pairs.npz --output pipe")
            rows = np.load(io.BytesIO(read.result()))
        assert (done.out, done.err) == ("", "Wrote pipe: 200 rows of 5 dimensions, float32\n")
        np.testing.assert_array_equal(rows, self.predict(cli))
        assert Path("pipe").is_fifo()

    def test_reversed_inputs_give_reversed_rows(self, cli: Line) -> None:
        forward = self.predict(cli)
        np.savez("reversed.npz", inputs=sample_arrays()["inputs"][::-1])
        backward = self.predict(cli, "--data reversed.npz --output p.npy")
        np.testing.assert_allclose(backward[::-1], forward, rtol=1e-4, atol=1e-5)

    def test_needs_no_targets(self, cli: Line) -> None:
        np.savez("inputs.npz", inputs=sample_arrays()["inputs"][:1])
        assert self.predict(cli, "--data inputs.npz --output p.npy").shape == (1, 5)

    def test_takes_the_last_state_too(self, cli: Line) -> None:
        assert cli("predict --checkpoint run/last.pt --data pairs.npz --output last.npy").code == 0
        state = load_checkpoint(Path("run/last.pt"))["state"]["model"]
        trained = load_model(Path("run/best.pt"))
        trained.model.load_state_dict(state)
        expected = trained.embeddings(torch.from_numpy(sample_arrays()["inputs"])).numpy()
        np.testing.assert_array_equal(np.load("last.npy"), expected)

    def test_inputs_of_another_shape_are_refused(self, cli: Line) -> None:
        np.savez("other.npz", inputs=np.ones((3, 7)))
        done = cli("predict --checkpoint run/best.pt --data other.npz --output p.npy")
        message = "--data other.npz: one input has shape (7,); the model takes (6,)"
        assert (done.code, done.err) == (2, f"error: {message}\n")
        assert not Path("p.npy").exists()

    def test_predictions_that_are_not_finite_are_refused(self, cli: Line) -> None:
        inputs = sample_arrays()["inputs"]
        inputs[11] = 3e38
        np.savez("huge.npz", inputs=inputs)
        done = cli("predict --checkpoint run/best.pt --data huge.npz --output p.npy")
        message = "--data huge.npz: predictions hold NaN or infinity in 1 of 200 rows, first row 11"
        assert (done.code, done.err) == (2, f"error: {message}\n")
        assert not Path("p.npy").exists()

    @pytest.mark.parametrize("damage", ["flip", "cut", "other"])
    def test_a_damaged_checkpoint_is_refused(self, cli: Line, damage: str) -> None:
        content = bytearray(Path("run/best.pt").read_bytes())
        content[len(content) // 2] ^= 1
        cut = content[: len(content) // 2]
        Path("bad.pt").write_bytes({"flip": bytes(content), "cut": bytes(cut), "other": b"something"}[damage])
        done = cli("predict --checkpoint bad.pt --data pairs.npz --output p.npy")
        reason = {"flip": "damaged, its content does not match its SHA-256"}.get(
            damage, "cut short, or not written by losstune"
        )
        assert (done.code, done.err) == (2, f"error: checkpoint bad.pt: {reason}\n")

    def test_a_checkpoint_of_something_else_is_refused(self, cli: Line) -> None:
        save_checkpoint(Path("else.pt"), {"weights": torch.ones(2)})
        done = cli("predict --checkpoint else.pt --data pairs.npz --output p.npy")
        assert (done.code, done.err) == (2, "error: checkpoint else.pt: not a model of a run: 'config'\n")

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"checkpoint": "none.pt"}, "checkpoint none.pt: can not be read: No such file or directory"),
            ({"data": "none.npz"}, "--data none.npz: no such file"),
            ({"output": "pairs.npz/p.npy"}, "--output pairs.npz/p.npy: can not be written: Not a directory"),
        ],
    )
    def test_a_mistake_is_one_message_and_exit_code_2(self, cli: Line, changed: dict[str, str], message: str) -> None:
        options = {"checkpoint": "run/best.pt", "data": "pairs.npz", "output": "p.npy", **changed}
        done = cli("predict " + " ".join(f"--{name} {value}" for name, value in options.items()))
        assert (done.code, done.out, done.err) == (2, "", f"error: {message}\n")


def test_a_model_trained_on_a_gpu_predicts_without_one(train: Line, cli: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    train("--num_epochs 1 --precision float32 --output_dir run")
    content = load_checkpoint(Path("run/best.pt"))
    content["config"]["device"] = "cuda"
    save_checkpoint(Path("run/best.pt"), content)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli("predict --checkpoint run/best.pt --data pairs.npz --output p.npy").code == 0


@pytest.mark.parametrize("options", ["", "--for-search"])
def test_rows_that_a_model_gives_turned_in_memory_are_written_in_order(train: Line, cli: Line, options: str) -> None:
    train(f"--model.factory {HERE}:Turned --num_epochs 1 --output_dir run")
    done = cli(f"predict --checkpoint run/best.pt --data pairs.npz {options} --output p.npy")
    assert done.code == 0, done.err
    expected = load_model("run/best.pt").predict(sample_arrays()["inputs"], for_search=bool(options))
    np.testing.assert_array_equal(np.load("p.npy"), expected)


def by_scikit_learn(gallery: np.ndarray, queries: np.ndarray, depth: int) -> np.ndarray:
    """The gallery rows of the nearest neighbours; among unit vectors those of the highest product."""
    return NearestNeighbors(n_neighbors=depth).fit(gallery).kneighbors(queries, return_distance=False)


def by_faiss(gallery: np.ndarray, queries: np.ndarray, depth: int) -> np.ndarray:
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    return index.search(queries, depth)[1]


@pytest.mark.parametrize("options", ["", "--center"])
class TestForSearch:
    """Targets that point the same way but for a little, where the centre makes all the difference."""

    @pytest.fixture
    def scored(self, cli: Line, options: str) -> dict[str, float]:
        """A run in the folder ``run``; returns what it scored on the test split."""
        arrays = sample_arrays(rows=400)
        arrays["targets"] += 5
        np.savez("pairs.npz", **arrays)
        done = cli(f"train --data pairs.npz {options} --loss_fn cosine --num_epochs 3 --output_dir run --test --json")
        return json.loads(done.out)

    def test_an_index_of_the_two_files_gives_the_product_s_own_recall(
        self, cli: Line, scored: dict[str, float]
    ) -> None:
        assert cli("predict --checkpoint run/best.pt --data pairs.npz --for-search --output q.npy").code == 0
        done = cli("predict --checkpoint run/best.pt --targets pairs.npz --output g.npy")
        assert (done.code, done.out) == (0, "Wrote g.npy: 400 rows of 5 dimensions, float32\n")
        queries, gallery = (np.load(name)[split_rows(load_pairs("pairs.npz"), 0).test] for name in ("q.npy", "g.npy"))
        for rows in (queries, gallery):
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
        for depth in (1, 5, 10):
            for index in (by_scikit_learn, by_faiss):
                found = (index(gallery, queries, depth) == np.arange(len(queries))[:, None]).any(axis=1).mean()
                assert found == pytest.approx(scored[f"test/recall_at_{depth}"], abs=1e-6)

    def test_a_program_gets_the_same(self, cli: Line, scored: dict[str, float]) -> None:
        cli("predict --checkpoint run/best.pt --data pairs.npz --for-search --output q.npy")
        cli("predict --checkpoint run/best.pt --targets pairs.npz --output g.npy")
        trained, arrays = load_model("run/best.pt"), np.load("pairs.npz")
        np.testing.assert_array_equal(trained.predict(arrays["inputs"], for_search=True), np.load("q.npy"))
        np.testing.assert_array_equal(trained.gallery(arrays["targets"]), np.load("g.npy"))

    def test_the_centre_is_that_of_the_rows_trained_on(self, scored: dict[str, float], options: str) -> None:
        center, pairs = load_model("run/best.pt").center, load_pairs("pairs.npz")
        if not options:
            assert center is None
        else:
            assert center is not None
            np.testing.assert_allclose(center.cpu(), pairs.targets[split_rows(pairs, 0).train].mean(0), rtol=1e-5)


class TestDims:
    """A run of targets (400, 5) with prefixes of 2 and 3, the second one only scored, and of 4."""

    @pytest.fixture
    def scored(self, cli: Line) -> dict[str, float]:
        """The run, in the folder ``run``; returns what it scored on the test split."""
        arrays = sample_arrays(rows=400)
        arrays["targets"] += 5
        np.savez("pairs.npz", **arrays)
        asked = "--matryoshka_dims 2,3,4 --matryoshka_weights 1,0,1 --center --num_epochs 3"
        return json.loads(cli(f"train --data pairs.npz {asked} --output_dir run --test --json").out)

    def written(self, cli: Line, given: str) -> np.ndarray:
        done = cli(f"predict --checkpoint run/best.pt {given} --output p.npy")
        assert done.code == 0, done.err
        return np.load("p.npy")

    def test_gives_the_first_so_many(self, cli: Line, scored: dict[str, float]) -> None:
        whole, cut = (self.written(cli, f"--data pairs.npz {dims}") for dims in ("", "--dims 2"))
        np.testing.assert_array_equal(cut, whole[:, :2])
        np.testing.assert_array_equal(self.written(cli, "--data pairs.npz --dims 5"), whole)

    @pytest.mark.parametrize("dims", [2, 4])
    def test_an_index_of_prefixes_gives_the_product_s_own_recall(
        self, cli: Line, scored: dict[str, float], dims: int
    ) -> None:
        queries = self.written(cli, f"--data pairs.npz --for-search --dims {dims}")
        gallery = self.written(cli, f"--targets pairs.npz --dims {dims}")
        trained, arrays = load_model("run/best.pt"), np.load("pairs.npz")
        np.testing.assert_array_equal(trained.predict(arrays["inputs"], for_search=True, dims=dims), queries)
        np.testing.assert_array_equal(trained.gallery(arrays["targets"], dims=dims), gallery)
        whole = self.written(cli, "--data pairs.npz --for-search")[:, :dims]
        np.testing.assert_allclose(whole / np.linalg.norm(whole, axis=1, keepdims=True), queries, rtol=1e-4, atol=1e-5)
        test = split_rows(load_pairs("pairs.npz"), 0).test
        for rows in (queries, gallery):
            assert rows.shape == (400, dims)
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
        for depth in (1, 5, 10):
            found = (by_faiss(gallery[test], queries[test], depth) == np.arange(len(test))[:, None]).any(axis=1).mean()
            assert found == pytest.approx(scored[f"test/dim_{dims}/recall_at_{depth}"], abs=1e-6)

    @pytest.mark.parametrize("given", ["--data pairs.npz", "--targets pairs.npz"])
    def test_a_prefix_that_was_not_trained_is_refused(self, cli: Line, scored: dict[str, float], given: str) -> None:
        for dims in (0, 3, 6):
            done = cli(f"predict --checkpoint run/best.pt {given} --dims {dims} --output p.npy")
            message = f"--dims {dims}: the model's prefixes are of 2, 4 or 5 dimensions"
            assert (done.code, done.err) == (2, f"error: {message}\n")
        with pytest.raises(LosstuneError, match=r"^dims 3: the model's prefixes are of 2, 4 or 5"):
            load_model("run/best.pt").predict(np.ones((1, 6)), dims=3)

    @pytest.mark.usefixtures("run")
    def test_of_a_model_without_prefixes_there_is_only_the_whole(self, cli: Line) -> None:
        done = cli("predict --checkpoint run/best.pt --data pairs.npz --dims 2 --output p.npy")
        message = "--dims 2: the model's prefixes are of 5 dimensions, as it was trained without matryoshka_dims"
        assert (done.code, done.err) == (2, f"error: {message}\n")
        assert self.written(cli, "--data pairs.npz --dims 5").shape == (200, 5)


@pytest.mark.usefixtures("run")
class TestForSearchRefused:
    def test_a_checkpoint_that_does_not_know_its_centre(self, cli: Line) -> None:
        cli("train --data pairs.npz --center --num_epochs 1 --output_dir centred")
        content = load_checkpoint(Path("centred/best.pt"))
        del content["center"]
        save_checkpoint(Path("centred/best.pt"), content)
        for given in ("--data pairs.npz --for-search", "--targets pairs.npz"):
            message = "the checkpoint is of a losstune that did not keep the centre: train it again, or resume it"
            assert cli(f"predict --checkpoint centred/best.pt {given} --output p.npy").err == f"error: {message}\n"
        assert cli("predict --checkpoint centred/best.pt --data pairs.npz --output p.npy").code == 0

    @pytest.mark.parametrize("given", ["", "--data pairs.npz --targets pairs.npz"])
    def test_neither_or_both(self, cli: Line, given: str) -> None:
        message = "predict: give --data, whose inputs are embedded, or --targets, which are to be searched"
        done = cli(f"predict --checkpoint run/best.pt {given} --output p.npy")
        assert (done.code, done.err) == (2, f"error: {message}\n")

    def test_targets_that_are_not_there(self, cli: Line) -> None:
        done = cli("predict --checkpoint run/best.pt --targets none.npz --output p.npy")
        assert (done.code, done.err) == (2, "error: --targets none.npz: no such file\n")

    def test_targets_of_another_width(self, cli: Line) -> None:
        cli("train --data pairs.npz --center --num_epochs 1 --output_dir centred")
        np.savez("wide.npz", targets=np.ones((3, 7)))
        done = cli("predict --checkpoint centred/best.pt --targets wide.npz --output p.npy")
        assert done.err == "error: --targets wide.npz: targets have 7 dimensions; the model gives 5\n"
