"""A folder of ``.npy`` files: checked, hashed, trained, scored and embedded as the same arrays in memory would be."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data import columns, pair_checks
from losstune.trainer.data import formats as data_files
from losstune.trainer.data.npy import MappedArray
from losstune.trainer.data.pairs import Pairs, load_inputs, load_pairs
from losstune.trainer.data.remedies import FINITE, ONE_TARGET, another
from losstune.trainer.run.scored import score_test
from tests.trainer.conftest import Line
from tests.trainer.data.test_pair_checks import REFUSED
from tests.trainer.samples import Arrays, refusal, sample_arrays, sample_config, sample_trainer, timeless, train_to_end


def save_folder(folder: Path, arrays: Arrays) -> str:
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


def both(tmp_path: Path, arrays: Arrays) -> tuple[Pairs, Pairs]:
    """The same pairs from a folder and from an archive."""
    np.savez(tmp_path / "pairs.npz", **arrays)
    return load_pairs(save_folder(tmp_path / "pairs", arrays)), load_pairs(str(tmp_path / "pairs.npz"))


def full_arrays(rows: int = 200) -> Arrays:
    """Every fourth target is another's too."""
    arrays = sample_arrays(rows=rows)
    ids = np.arange(rows) - (np.arange(rows) % 4 == 3)
    split = np.array(["train", "train", "val", "train", "test"])[ids % 5]
    return {"inputs": arrays["inputs"], "targets": arrays["targets"][ids], "ids": ids, "split": split}


def linear(*, input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
    return nn.Linear(*input_shape, output_dim)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small data has many."""
    monkeypatch.setattr(pair_checks, "PIECE_BYTES", 100)
    monkeypatch.setattr(columns, "ROWS_AT_ONCE", 40)


class TestLoaded:
    @pytest.mark.parametrize("parts", [("inputs", "targets"), ("inputs", "targets", "ids"), tuple(full_arrays())])
    @pytest.mark.parametrize("stored", [(np.float32, np.float32), (np.float64, np.float16), (np.int32, np.float64)])
    def test_as_the_same_arrays_in_an_archive(
        self, tmp_path: Path, parts: tuple[str, ...], stored: tuple[type, type]
    ) -> None:
        arrays = {name: array for name, array in full_arrays().items() if name in parts}
        arrays |= {name: arrays[name].astype(dtype) for name, dtype in zip(("inputs", "targets"), stored, strict=True)}
        arrays["targets"][:, 0] += 9  # none is near zero after rounding
        found, expected = both(tmp_path, arrays)
        assert isinstance(found.inputs, MappedArray)
        assert isinstance(found.targets, MappedArray)
        assert found.source == str(tmp_path / "pairs")
        assert found.digest == expected.digest
        for name in ("inputs", "targets"):
            own, other = getattr(found, name), getattr(expected, name)
            assert own.dtype == other.dtype
            np.testing.assert_array_equal(own[:], other)
        np.testing.assert_array_equal(found.ids, expected.ids)
        assert (found.split is None) == (expected.split is None)
        np.testing.assert_array_equal(found.split, expected.split)

    @pytest.mark.parametrize("kind", ["text", "bytes", "numbers"])
    def test_a_split_is_text_or_numbers(self, tmp_path: Path, kind: str) -> None:
        arrays = full_arrays()
        codes = np.array([("train", "val", "test").index(name) for name in arrays["split"]], dtype=np.uint8)
        given = {"text": arrays["split"], "bytes": arrays["split"].astype("S"), "numbers": codes}[kind]
        found = load_pairs(save_folder(tmp_path / "pairs", {**arrays, "split": given})).split
        np.testing.assert_array_equal(found, codes)

    def test_by_a_relative_path_through_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        save_folder(tmp_path / "pairs", sample_arrays())
        (tmp_path / "linked").mkdir()
        for name in ("inputs", "targets"):
            (tmp_path / "linked" / f"{name}.npy").symlink_to(tmp_path / "pairs" / f"{name}.npy")
        monkeypatch.chdir(tmp_path)
        found = load_pairs("linked")
        assert (found.source, found.digest) == (str(tmp_path / "linked"), load_pairs("pairs").digest)

    def test_pickled_pairs_are_a_handle_with_ids_and_split(self, tmp_path: Path) -> None:
        found, in_memory = both(tmp_path, full_arrays())
        assert found.bytes_in_memory == 200 * (8 + 1)
        assert in_memory.bytes_in_memory == 200 * (4 * 6 + 4 * 5 + 8 + 1)
        again = pickle.loads(pickle.dumps(found))
        assert again.digest == found.digest
        np.testing.assert_array_equal(again.targets[:], in_memory.targets)
        np.testing.assert_array_equal(again.ids, found.ids)

    def test_inputs_alone(self, tmp_path: Path) -> None:
        inputs = load_inputs(save_folder(tmp_path / "pairs", {"inputs": np.ones((3, 2))}))
        assert isinstance(inputs, MappedArray)
        assert inputs[:].tolist() == [[1, 1]] * 3


SAVED = {name: case for name, case in REFUSED.items() if all(a.dtype != object for a in case[0].values())}


class TestRefused:
    @pytest.mark.parametrize(("arrays", "message"), SAVED.values(), ids=SAVED)
    def test_bad_arrays_by_folder_array_and_row(self, tmp_path: Path, arrays: Arrays, message: str) -> None:
        folder = save_folder(tmp_path / "pairs", {name: np.ascontiguousarray(a) for name, a in arrays.items()})
        assert refusal(load_pairs, folder) == f"{folder}: {message}"

    @pytest.mark.parametrize("name", ["inputs", "targets"])
    def test_the_first_bad_row_and_their_number_over_all_pieces(self, tmp_path: Path, name: str) -> None:
        arrays = sample_arrays()
        arrays[name][[37, 38, 150, 199]] = np.nan
        folder = save_folder(tmp_path / "pairs", arrays)
        message = f"{name} row 37 holds NaN, infinity or a number beyond float32 (4 such rows)"
        assert refusal(load_pairs, folder) == f"{folder}: {message}{FINITE.format(name)}"

    def test_a_zero_target_in_a_late_piece(self, tmp_path: Path) -> None:
        arrays = sample_arrays()
        arrays["targets"][[120, 130]] = 0
        message = refusal(load_pairs, folder := save_folder(tmp_path / "pairs", arrays))
        assert message.startswith(f"{folder}: targets row 120 is all zeros, or nearly (2 such rows); ")

    def test_a_target_that_its_id_does_not_have_in_a_late_piece(self, tmp_path: Path) -> None:
        arrays = full_arrays()
        arrays["targets"][163] *= 1.1
        folder = save_folder(tmp_path / "pairs", arrays)
        message = (
            f"ids rows 162 and 163 are both 162, but their targets differ; "
            f"an id is the identity of one target{ONE_TARGET}"
        )
        assert refusal(load_pairs, folder) == f"{folder}: {message}"

    def test_inputs_alone_are_checked(self, tmp_path: Path) -> None:
        folder = save_folder(tmp_path / "pairs", {"inputs": np.array([[1.0], [np.nan], [np.inf]])})
        message = "inputs row 1 holds NaN, infinity or a number beyond float32 (2 such rows)"
        assert refusal(load_inputs, folder) == f"{folder}: {message}{FINITE.format('inputs')}"

    @pytest.mark.parametrize("name", ["inputs", "targets", "ids", "split"])
    def test_a_pipe_which_is_not_waited_for(self, tmp_path: Path, name: str) -> None:
        folder = save_folder(tmp_path / "pairs", full_arrays())
        (tmp_path / "pairs" / f"{name}.npy").unlink()
        os.mkfifo(tmp_path / "pairs" / f"{name}.npy")
        assert refusal(load_pairs, folder) == f"{folder}/{name}.npy: not a regular file"

    def test_split_numbers_outside_0_to_2(self, tmp_path: Path) -> None:
        arrays = full_arrays()
        folder = save_folder(tmp_path / "pairs", {**arrays, "split": np.where(np.arange(200) == 7, 3, 0)})
        assert (
            refusal(load_pairs, folder)
            == f"{folder}: split row 7 is 3; allowed: 0 train, 1 val, 2 test{another('split')}"
        )

    @pytest.mark.parametrize(
        ("name", "shape", "needed"),
        [("inputs", (10**9, 1), 160 * 10**9 + 64 * 4), ("targets", (1, 10**9), 160 + 64 * 4 * 10**9)],
        ids=["many rows", "a long row"],
    )
    def test_an_empty_file_that_looks_too_large_for_memory(
        self, tmp_path: Path, name: str, shape: tuple[int, int], needed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(data_files, "free_memory", lambda: 10**9)
        folder = save_folder(tmp_path / "pairs", full_arrays())
        sparse = np.lib.format.open_memmap(tmp_path / f"pairs/{name}.npy", "w+", np.float32, shape)
        del sparse
        message = refusal(load_pairs, folder)
        rows = f"{shape[0]:,} rows of {4 * shape[1]:,} bytes"
        assert message == (
            f"{folder}/{name}.npy: {rows} need {needed:,} bytes of memory beside what stays on disk, "
            "and 1,000,000,000 are free"
        )


class TestTrained:
    def histories(self, tmp_path: Path, arrays: Arrays, *config: Any, **settings: Any) -> list[list[dict[str, float]]]:
        chosen = sample_config(*config, batch_size=16, num_epochs=3, **settings)
        return [timeless(train_to_end(sample_trainer(chosen, pairs))) for pairs in both(tmp_path, arrays)]

    @pytest.mark.parametrize("loss_fn", ["cosine", "infonce", "full_softmax"])
    @pytest.mark.parametrize("settings", [{}, {"center": True, "model.dropout": 0.3}, {"fit": "train+val"}])
    def test_bit_for_bit_as_from_memory(self, tmp_path: Path, loss_fn: str, settings: dict[str, Any]) -> None:
        on_disk, in_memory = self.histories(tmp_path, full_arrays(), loss_fn, **settings)
        assert on_disk == in_memory

    def test_with_a_model_of_the_user_s_own(self, tmp_path: Path) -> None:
        own = {"model.factory": "tests.trainer.data.test_folder:linear"}
        histories = [
            timeless(
                train_to_end(sample_trainer(TrainConfig.from_flat({"num_epochs": 2, "device": "cpu", **own}), pairs))
            )
            for pairs in both(tmp_path, full_arrays())
        ]
        assert histories[0] == histories[1]

    def test_on_images_of_bytes(self, tmp_path: Path) -> None:
        images = np.random.default_rng(0).integers(0, 255, (200, 3, 4), dtype=np.uint8)
        on_disk, in_memory = self.histories(tmp_path, {**full_arrays(), "inputs": images})
        assert on_disk == in_memory

    def test_and_scored_and_embedded_as_from_memory(self, tmp_path: Path, cli: Line) -> None:
        found, expected = both(tmp_path, full_arrays())
        assert cli(f"train --data {found.source} --center --num_epochs 2 --output_dir run").code == 0
        checkpoint = Path("run/best.pt")
        assert score_test(checkpoint, found) == score_test(checkpoint, expected)
        (tmp_path / "pairs/targets.npy").unlink()
        for source, name in ((found.source, "a.npy"), (expected.source, "b.npy")):
            done = cli(f"predict --checkpoint {checkpoint} --data {source} --output {name}")
            assert (done.code, done.out) == (0, f"Wrote {name}: 200 rows of 5 dimensions, float32\n")
        assert Path("a.npy").read_bytes() == Path("b.npy").read_bytes()


BOUNDED = """
import resource, sys
from pathlib import Path
import torch
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.run.predict import predict_file
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.train import train_run
from rich.console import Console
from scipy.sparse.csgraph import connected_components  # a library that is loaded on the way is no data

torch.set_num_threads(1)
small = {"model.hidden_dim": 16, "model.depth": 1}
config = TrainConfig.from_flat({"data": "digits", "num_epochs": 1, "device": "cpu", "threads": 1, **small})
train_run(config, load_pairs("digits"), RunDirectory(Path("first")), Console(quiet=True), resume=False)
held = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + int(sys.argv[2]),) * 2)
config = TrainConfig.from_flat({**config.flat(), "data": sys.argv[1], "batch_size": 512, "center": True})
train_run(config, load_pairs(sys.argv[1]), RunDirectory(Path("run")), Console(quiet=True), resume=False)
predict_file(Path("run/best.pt"), sys.argv[1], Path("predictions.npy"))
"""


def save_large(folder: Path, rows: int, width: int) -> None:
    """Random inputs and targets, of which few are validated and tested."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("inputs", "targets"):
        array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (rows, width))
        for part in np.array_split(array, 100):
            part[:] = rng.random(part.shape, dtype=np.float32)
        array.flush()
    np.save(folder / "split.npy", np.where(np.arange(rows) % 100 < 98, 0, np.arange(rows) % 100 - 97))


def test_memory_stays_far_below_the_size_of_the_data(tmp_path: Path) -> None:
    """240 MB, with 160 MB to work in: what a process may allocate is limited, and files that it maps do not count.

    It takes some 85 MB; libraries, which allocate when they first need to, have been seen to take 40 MB more at times.
    """
    save_large(tmp_path / "pairs", 120_000, 250)

    def run(source: str) -> subprocess.CompletedProcess[str]:
        limited = [sys.executable, "-c", BOUNDED, source, str(160 * 10**6)]
        return subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, check=False)

    from_disk = run("pairs")
    assert from_disk.returncode == 0, from_disk.stderr
    assert np.load(tmp_path / "predictions.npy", mmap_mode="r").shape == (120_000, 250)
    np.savez(tmp_path / "pairs.npz", **{file.stem: np.load(file) for file in (tmp_path / "pairs").iterdir()})
    assert "Unable to allocate" in run("pairs.npz").stderr
