"""How many trials share a GPU: the choice from a table, and the probe's processes on a CPU."""

import fcntl
from pathlib import Path

import pytest
import torch

from losstune.trainer.base.errors import UserError
from losstune.tuning.execute.gpu_probe import Probed, choose, fitting, next_count, probe_gpu, shared, speeds
from tests.trainer.samples import sample_pairs

GIB = 2**30


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 105.0}, 1),
        ({1: 100.0, 2: 115.0}, 2),
        ({1: 100.0, 2: 190.0, 4: 310.0, 8: 320.0}, 4),
        ({1: 100.0, 2: 190.0, 4: 310.0, 8: 350.0}, 8),
        ({1: 100.0, 2: 95.0}, 1),
        ({1: 100.0, 2: 200.0, 4: 150.0}, 2),
        ({1: 90.0, 2: 100.0}, 1),  # nearly the best: exactly nine tenths of it
        ({1: 100.0, 2: 180.0, 3: 240.0}, 3),
    ],
)
def test_the_fewest_that_are_nearly_as_fast_as_the_best(speeds: dict[int, float], chosen: int) -> None:
    assert choose(speeds) == chosen


@pytest.mark.parametrize(
    ("speeds", "limit", "tried"),
    [
        ({}, 8, 1),
        ({1: 100.0}, 1, None),
        ({1: 100.0}, 8, 2),
        ({1: 100.0, 2: 190.0}, 8, 4),
        ({1: 100.0, 2: 190.0}, 3, 3),
        ({1: 100.0, 2: 105.0}, 8, None),
        ({1: 100.0, 2: 190.0, 4: 200.0}, 64, None),
        ({1: 100.0, 2: 190.0, 3: 240.0}, 3, None),
    ],
)
def test_twice_as_many_are_tried_while_that_gains(speeds: dict[int, float], limit: int, tried: int | None) -> None:
    assert next_count(speeds, limit) == tried


@pytest.mark.parametrize(
    ("peak", "total", "fits"), [(2 * GIB, 80 * GIB, 33), (60 * GIB, 80 * GIB, 1), (81 * GIB, 80 * GIB, 1), (1, 12, 10)]
)
def test_what_fits_has_a_margin(peak: int, total: int, fits: int) -> None:
    assert fitting(peak, total) == fits


@pytest.mark.parametrize(
    ("probed", "line"),
    [
        (
            Probed("H100", 79 * GIB, int(1.9 * GIB), 16, {1: 100.0, 2: 180.0, 4: 310.0, 8: 320.0}),
            "4 trials share a GPU (H100): the largest setting takes 1.9 of 79.0 GiB; "
            "2, 4, 8 at once train 1.8, 3.1, 3.2 times as fast as one",
        ),
        (
            Probed("H100", 79 * GIB, 70 * GIB, 1, {1: 100.0}),
            "1 trial at a time on a GPU (H100): the largest setting takes 70.0 of 79.0 GiB",
        ),
        (
            Probed("T4", 15 * GIB, 15 * GIB + 1, 1, {1: 100.0}),
            "1 trial at a time on a GPU (T4): the largest setting finds no room in its 15.0 GiB",
        ),
    ],
)
def test_the_choice_is_said_with_its_reasons(probed: Probed, line: str) -> None:
    assert str(probed) == line


SETTINGS = {"loss_fn": "mse", "batch_size": 16, "num_epochs": 3, "device": "cpu", "threads": 1}


def test_processes_train_at_once_and_end(tmp_path: Path) -> None:
    with shared(sample_pairs()) as file:
        found = speeds(SETTINGS, file, limit=2, seconds=0.1)
    assert sorted(found) == [1, 2]
    assert min(found.values()) > 0
    assert not file.exists()


def test_a_copy_of_the_data_is_cleared_away_after_a_probe_that_was_killed() -> None:
    with shared(sample_pairs()) as file, (file.parent / ".alive").open() as alive:
        assert file.parent.stat().st_mode & 0o077 == 0
        with pytest.raises(BlockingIOError):  # whoever clears away finds it free once the probe is dead
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_fails_in_a_process_is_one_message() -> None:
    with shared(sample_pairs()) as file, pytest.raises(UserError) as failed:
        speeds({**SETTINGS, "lr": -1.0}, file, limit=1)
    assert str(failed.value) == (
        "--gpus-per-trial auto: the probe failed: UserError: lr: found -1.0; should be greater than 0; give a number"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_message() -> None:
    with pytest.raises(UserError, match="torch sees no GPU here; install torch for CUDA, or give a number"):
        probe_gpu([SETTINGS], SETTINGS, sample_pairs(), most=2, folders=[])
