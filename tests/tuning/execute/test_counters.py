"""What an epoch takes, against work whose size is known, and against what the system says of the process."""

import time
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from losstune.trainer.run.history import Record
from losstune.tuning.execute import counters as module
from losstune.tuning.execute.counters import measured

CPU, MEMORY = "system/cpu_utilization_percentage", "system/memory_usage_megabytes"
RECORD: Record = {"epoch": 1, "val/mrr": 0.5}


def busy() -> Record:
    """A fifth of a second of CPU."""
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    return RECORD


def of_clocks(monkeypatch: pytest.MonkeyPatch, wall: list[float], cpu: list[float]) -> None:
    monkeypatch.setattr(module.time, "perf_counter", iter(wall).__next__)
    monkeypatch.setattr(module.time, "process_time", iter(cpu).__next__)


def test_the_epoch_keeps_its_own_values_and_gets_those_of_its_machine() -> None:
    found = measured(lambda: RECORD, 1, torch.device("cpu"))
    assert found.items() >= RECORD.items()
    assert found.keys() - RECORD.keys() == {CPU, MEMORY}
    assert RECORD == {"epoch": 1, "val/mrr": 0.5}


@pytest.mark.parametrize(("cores", "percent"), [(1, 150.0), (2, 75.0)])
def test_cpu_is_in_percent_of_the_slots_cores(cores: int, percent: float, monkeypatch: pytest.MonkeyPatch) -> None:
    of_clocks(monkeypatch, [10.0, 12.0], [5.0, 8.0])
    assert measured(lambda: RECORD, cores, torch.device("cpu"))[CPU] == percent


def test_cpu_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "perf_counter", iter([0.0, 1.0]).__next__)  # other processes take of a true second
    began = psutil.Process().cpu_times()
    found = measured(busy, 1, torch.device("cpu"))[CPU]
    ended = psutil.Process().cpu_times()
    used = ended.user + ended.system - began.user - began.system
    assert found / 100 == pytest.approx(used, abs=0.05)  # the kernel counts these in hundredths


def test_memory_is_what_the_process_has_resident() -> None:
    before = measured(lambda: RECORD, 1, torch.device("cpu"))[MEMORY]
    taken = np.ones(25_000_000)
    after = measured(lambda: RECORD, 1, torch.device("cpu"))[MEMORY]
    assert after == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.05)
    assert after - before == pytest.approx(taken.nbytes / 1e6, abs=40)


class Gpu:
    """torch's counters of a GPU."""

    total_memory = 8_000_000_000

    def __init__(self, told: Exception | int) -> None:
        self.told = told
        self.asked: list[str] = []

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.asked.append("begins")

    def max_memory_reserved(self, device: torch.device) -> int:
        self.asked.append("ends")
        return 2_000_000_000

    def get_device_properties(self, device: torch.device) -> Any:
        return self

    def utilization(self, device: torch.device) -> int:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


@pytest.mark.parametrize("told", [37, ModuleNotFoundError("nvidia-ml-py"), OSError("NVML: not supported")])
def test_a_gpus_memory_is_the_epochs_own_and_what_nvml_does_not_tell_ends_no_trial(
    told: Exception | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(told)
    monkeypatch.setattr(torch, "cuda", gpu)

    def epoch() -> Record:
        gpu.asked.append("epoch")
        return RECORD

    found = measured(epoch, 1, torch.device("cuda"))
    assert gpu.asked == ["begins", "epoch", "ends"]
    assert found["system/gpu_0_memory_usage_megabytes"] == 2000.0
    assert found["system/gpu_0_memory_usage_percentage"] == 25.0
    assert found.get("system/gpu_0_utilization_percentage") == (told if isinstance(told, int) else None)
