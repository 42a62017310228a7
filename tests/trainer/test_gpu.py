"""What needs a CUDA GPU. Skipped without one; tests/skips.txt lists these tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.own_models import HERE, image_pairs, token_pairs
from tests.trainer.samples import sample_arrays, sample_pairs
from trainer.config import TrainConfig
from trainer.data import Pairs, load_pairs, make_pairs
from trainer.loop import Trainer
from trainer.metrics import rank_in_gallery
from trainer.predict import load_model
from trainer.resident import resident_data
from trainer.run_dir import RunDirectory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]


def test_a_gpu_trains_in_bfloat16_and_resumes(tmp_path: Path) -> None:
    config = TrainConfig.from_flat({"loss_fn": "infonce", "num_epochs": 4, "batch_size": 16})
    data = resident_data(sample_pairs(), config, torch.device("cuda"))
    trainer = Trainer(config, data)
    folder = RunDirectory(tmp_path / "run")
    folder.start(config)
    folder.save(trainer, [trainer.run_epoch(), trainer.run_epoch()])
    again = Trainer(config, data)
    assert len(RunDirectory(tmp_path / "run").restore(again)) == 2
    assert next(again.model.parameters()).dtype == torch.float32
    assert again.run_epoch()["train/loss"] == pytest.approx(trainer.run_epoch()["train/loss"], rel=1e-2)


@pytest.mark.parametrize(
    ("factory", "pairs", "options"),
    [
        ("Conv", image_pairs, {"model.depth": 2}),
        ("bag", token_pairs, {"model.words": 50}),
        ("features", sample_pairs, {}),
        ("Mixed", sample_pairs, {}),
    ],
)
def test_a_users_model_trains_on_a_gpu_resumes_and_predicts(
    factory: str, pairs: Callable[[], Pairs], options: dict[str, int], tmp_path: Path
) -> None:
    own = {"model.factory": f"{HERE}:{factory}", **options, "accumulate": 2, "lr": 0.01}
    config = TrainConfig.from_flat({"loss_fn": "cosine", "num_epochs": 3, **own})
    data = resident_data(pairs(), config, torch.device("cuda"))
    trainer = Trainer(config, data)
    folder = RunDirectory(tmp_path)
    folder.start(config)
    folder.save(trainer, [trainer.run_epoch()])
    loaded = load_model(tmp_path / "last.pt").predict(data.train.inputs)
    torch.testing.assert_close(loaded, trainer.predict(data.train.inputs), rtol=1e-2, atol=1e-2)
    again = Trainer(config, data)
    RunDirectory(tmp_path).restore(again)
    assert again.run_epoch()["train/loss"] == pytest.approx(trainer.run_epoch()["train/loss"], rel=2e-2)


def test_rows_on_disk_train_on_a_gpu_as_those_in_memory(tmp_path: Path) -> None:
    arrays = sample_arrays()
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    config = TrainConfig.from_flat({"loss_fn": "infonce", "num_epochs": 2, "batch_size": 16, "center": True})
    on_disk, in_memory = (
        Trainer(config, resident_data(pairs, config, torch.device("cuda")))
        for pairs in (load_pairs(str(tmp_path)), make_pairs(arrays, "memory"))
    )
    assert on_disk.run_epoch()["val/loss"] == pytest.approx(in_memory.run_epoch()["val/loss"], rel=1e-3)


def test_ranks_on_a_gpu_are_those_of_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(200, 16, generator=generator), torch.randn(200, 16, generator=generator)
    here = rank_in_gallery(queries, gallery, torch.arange(200))
    there = rank_in_gallery(queries.cuda(), gallery.cuda(), torch.arange(200).cuda())
    assert there.mrr() == pytest.approx(here.mrr(), abs=1e-3)
