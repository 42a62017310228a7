"""A study on data that stay on disk: workers open them from a handle, and one that can not stops the study."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import CONFIG_FILE, HISTORY_FILE
from losstune.tuning.commands.launch import launch
from losstune.tuning.execute.worker import TrialTrainable
from losstune.tuning.storage.run_places import FolderPlace
from losstune.tuning.study.messages import Report, Task
from tests.trainer.samples import sample_arrays, sample_trainer, timeless, train_to_end
from tests.tuning.conftest import request_for

SPACE = """
loss_fn: cosine
space: {lr: {low: 1.0e-3, high: 1.0e-2, log: true}}
fixed: {model.hidden_dim: 8}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pairs").mkdir()
    for name, array in sample_arrays().items():
        np.save(tmp_path / "pairs" / f"{name}.npy", array)
    return tmp_path / "pairs"


def test_trials_train_as_on_the_same_arrays_in_memory(
    folder: Path, tmp_path: Path, ray_address: str, untracked: None
) -> None:
    (tmp_path / "own.yaml").write_text(SPACE)
    request = request_for(
        tmp_path, ray_address, str(tmp_path / "own.yaml"), data=str(folder), trials=2, max_epochs=3, grace_epochs=3
    )
    study = launch(request, Console(file=io.StringIO())).study
    np.savez(tmp_path / "pairs.npz", **sample_arrays())
    in_memory = load_pairs(str(tmp_path / "pairs.npz"))
    assert (study.spec.data_source, study.spec.data_digest) == (str(folder), in_memory.digest)
    for number in range(2):
        trial = study.trials_folder / f"cosine-{number:04d}"
        trainer = sample_trainer(TrainConfig.from_flat(read_config(trial / CONFIG_FILE).settings), in_memory)
        assert timeless(read_history(trial / HISTORY_FILE)) == timeless(train_to_end(trainer))


class Elsewhere(TrialTrainable):
    """A worker on a node that has not the data of the driver's."""

    pairs: bytes

    def setup(self, config: dict[str, Any], pairs: Pairs | None = None) -> None:
        super().setup(config, pickle.loads(self.pairs))


@pytest.mark.parametrize("lost", ["inputs", "targets"])
def test_a_worker_without_the_data_stops_the_study_and_fails_no_trial(
    lost: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "logs"))
    monkeypatch.setattr("ray.get_gpu_ids", lambda: [0])  # asked outside of an actor, Ray would start
    Elsewhere.pairs = pickle.dumps(load_pairs(str(folder)))
    (folder / f"{lost}.npy").unlink()
    settings = {"loss_fn": "cosine", "num_epochs": 2, "device": "cpu", "threads": 1}
    worker = Elsewhere({"task": Task("cosine", 0, settings, FolderPlace(tmp_path / "cosine-0000"), (), (), 1)})
    report = Report.from_result(worker.train())
    assert report.end == "storage"  # the searcher proposes nothing more, and the trial waits
    assert report.error.startswith(f"{folder / lost}.npy: no such file, on ")
    assert not (tmp_path / "cosine-0000").exists()
