"""What needs a CUDA GPU. Skipped without one; tests/skips.txt lists these tests."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.trained_model import load_model
from losstune.trainer.score.ranking import rank_in_gallery
from losstune.tuning.execute import gpu_probe
from tests.trainer.own_models import HERE, image_pairs, token_pairs
from tests.trainer.samples import sample_arrays, sample_pairs

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
    assert len(RunDirectory(tmp_path / "run").restore(again).records) == 2
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
    loaded = load_model(tmp_path / "last.pt").embeddings(data.train.inputs)
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


def test_a_setting_without_room_raises_what_workers_tell_from_other_errors() -> None:
    narrow, wide = (
        TrainConfig.from_flat({"loss_fn": "mse", "num_epochs": 1, "device": "cuda", "model.hidden_dim": width})
        for width in (64, 16_384)
    )
    data = resident_data(sample_pairs(), narrow, torch.device("cuda"))
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**29) / total)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            Trainer(wide, data).run_epoch()
        torch.cuda.empty_cache()
        assert Trainer(narrow, data).run_epoch()["epoch"] == 1  # the next trial of the process has its room
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


SETTINGS = {"loss_fn": "mse", "batch_size": 16, "num_epochs": 2, "device": "cuda", "threads": 1}


def test_the_probe_counts_what_a_process_takes() -> None:
    """CUDA's own context takes some hundred MiB; a model of 8,192² twice over takes its 32-bit weights four times."""
    with gpu_probe.shared(sample_pairs()) as file:
        small = gpu_probe.memory([SETTINGS], file)
        wide = gpu_probe.memory([SETTINGS, {**SETTINGS, "model.hidden_dim": 8192, "model.depth": 3}], file)
    weights = 2 * 8192**2 * 4
    assert 100 * 2**20 < small < 3 * 2**30
    assert 4 * weights < wide - small < 8 * weights


def test_the_probe_says_when_the_largest_setting_finds_no_room() -> None:
    room = 3 * 2**29  # enough for a context, not for a layer of 16,384² and its gradient
    taken = torch.empty(torch.cuda.mem_get_info()[0] - room, dtype=torch.uint8, device="cuda")
    with gpu_probe.shared(sample_pairs()) as file:
        assert gpu_probe.memory([{**SETTINGS, "model.hidden_dim": 16_384}], file) > torch.cuda.mem_get_info()[1]
    del taken
    torch.cuda.empty_cache()


def test_the_probe_chooses_a_share() -> None:
    found = gpu_probe.probe_gpu([SETTINGS], SETTINGS, sample_pairs(), most=4, folders=[])
    assert set(found.speeds) <= {1, 2, 4}
    assert 1 <= found.trials <= found.limit == 4
    assert str(found).startswith(("1 trial at a time on a GPU (", "2 trials share a GPU (", "4 trials share a GPU ("))


def test_no_visible_gpu_means_the_cpu() -> None:
    """What a worker without a share is told before it first asks for CUDA."""
    code = "import torch, os; os.environ['CUDA_VISIBLE_DEVICES'] = ''; "
    code += "from losstune.trainer.run.device import pick_device; print(pick_device('auto'))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "cpu\n"
