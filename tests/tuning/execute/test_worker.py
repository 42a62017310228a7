"""What a worker reports, keeps and goes on from, without actors; and which GPUs it sees, as Ray places it."""

import os
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE, LAST_FILE
from losstune.trainer.run.loop import Trainer
from losstune.tuning.execute import worker as module
from losstune.tuning.execute.local_ray import ray_running
from losstune.tuning.execute.placement import Resources, machines_now, slots
from losstune.tuning.execute.requirements import Expected, Needs
from losstune.tuning.execute.worker import TrialTrainable
from losstune.tuning.storage.run_places import FolderPlace
from losstune.tuning.study.messages import Report, Task
from tests.trainer.samples import sample_arrays, sample_pairs, sample_trainer, timeless, train_to_end
from tests.tuning.simulation import folder_of

SETTINGS = {"loss_fn": "cosine", "num_epochs": 6, "device": "cpu", "threads": 1, "model.hidden_dim": 8, "seed": 3}


class Worker(TrialTrainable):
    """What Tune makes of it: one that has its data, sent as Ray sends it."""

    sent = pickle.dumps(sample_pairs())

    system_metrics = True

    def setup(self, config: dict[str, Any], pairs: Pairs | None = None, expected: Expected | None = None) -> None:
        super().setup(config, pickle.loads(self.sent), system_metrics=self.system_metrics)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    logs = str(tmp_path_factory.mktemp("logs"))  # or Ray makes a folder in the user's home
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", logs)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task("cosine", 0, SETTINGS, FolderPlace(tmp_path / "cosine-0000"), (2, 4), (), attempt=1)


def reports(worker: Worker) -> list[Report]:
    """To the trial's end."""
    found = [Report.from_result(worker.train())]
    while found[-1].end is None:
        found.append(Report.from_result(worker.train()))
    return found


def undisturbed() -> list[dict[str, float]]:
    """What the trial's history must be."""
    return timeless(train_to_end(sample_trainer(TrainConfig.from_flat(SETTINGS))))


def history(task: Task) -> list[dict[str, float]]:
    return timeless(read_history(folder_of(task) / HISTORY_FILE))


# To the next rung and back


def test_a_trial_reports_at_its_rungs_and_its_end(task: Task) -> None:
    found = reports(Worker({"task": task}))
    assert [(report.epoch, report.end) for report in found] == [(2, None), (4, None), (6, "epochs")]
    values = [record["val/mrr"] for record in history(task)]
    assert [report.best for report in found] == [max(values[: report.epoch]) for report in found]
    assert history(task) == undisturbed()


def test_a_step_ends_before_its_rung_when_it_has_lasted(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP_SECONDS", -1.0)
    assert [report.epoch for report in reports(Worker({"task": task}))] == [1, 2, 3, 4, 5, 6]
    assert history(task) == undisturbed()


@pytest.mark.parametrize("wished", [True, False])
def test_epochs_tell_what_they_took_unless_that_is_not_wished(task: Task, wished: bool) -> None:
    worker = type("Measured", (Worker,), {"system_metrics": wished})({"task": task})
    reports(worker)
    records = read_history(folder_of(task) / HISTORY_FILE)
    told = {"system/cpu_utilization_percentage", "system/memory_usage_megabytes"}
    assert all(record.keys() >= told for record in records) == wished
    assert any(record.keys() & told for record in records) == wished
    assert history(task) == undisturbed()


def test_a_result_says_done_once_the_trial_has_ended(task: Task) -> None:
    worker = Worker({"task": task})
    assert [worker.train()["done"] for _ in range(3)] == [False, False, True]


def test_an_actor_trains_one_trial_after_the_other(task: Task, tmp_path: Path) -> None:
    worker = Worker({"task": task})
    reports(worker)
    second = replace(task, number=1, place=FolderPlace(tmp_path / "cosine-0001"), settings=SETTINGS | {"seed": 4})
    assert worker.reset_config({"task": second})
    assert {report.number for report in reports(worker)} == {1}
    assert history(second) != history(task)


def test_data_are_prepared_once_for_each_split(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[int] = []

    def prepare(pairs: Pairs, config: Any, device: Any) -> Any:
        prepared.append(config.split_seed)
        return original(pairs, config, device)

    original = module.resident_data
    monkeypatch.setattr(module, "resident_data", prepare)
    worker = Worker({"task": task})
    for number, split_seed in enumerate((0, 0, 5, 5)):
        place = FolderPlace(folder_of(task).with_name(f"cosine-{number:04d}"))
        worker.reset_config({"task": replace(task, place=place, settings=SETTINGS | {"split_seed": split_seed})})
        worker.train()
    assert prepared == [0, 5]


# Going on


@pytest.mark.parametrize(
    ("passed", "told", "reports_first"),
    [
        ((), 2, 2),  # it was saved, and the report did not arrive: told again before anything else
        ((2,), 2, 4),
        ((), 1, 2),  # between rungs there is nothing to tell
    ],
)
def test_what_the_checkpoint_knows_and_the_truth_does_not_is_told_first(
    passed: tuple[int, ...], told: int, reports_first: int, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "STEP_SECONDS", -1.0)
        first = Worker({"task": task})
        for _ in range(told):
            first.train()
    again = replace(task, passed=passed, attempt=2)
    found = reports(Worker({"task": again}))
    assert found[0].epoch == reports_first
    assert (found[0].seconds == 0) == (told == reports_first), "nothing is trained before it is told"
    assert history(task) == undisturbed()


def test_an_end_that_did_not_arrive_is_told_again(task: Task) -> None:
    before = reports(Worker({"task": task}))[-1]
    (again,) = reports(Worker({"task": replace(task, passed=(2, 4), attempt=2)}))
    assert (again.epoch, again.end, again.best) == (before.epoch, "epochs", before.best)
    assert history(task) == undisturbed()


def test_a_damaged_state_is_said_and_the_trial_trained_again(task: Task) -> None:
    folder = folder_of(task)
    folder.mkdir()
    (folder / LAST_FILE).write_bytes(b"nothing")
    found = reports(Worker({"task": task}))
    (note,) = found[0].notes
    assert note.startswith(f"checkpoint {folder / LAST_FILE}: cut short")
    assert note.endswith("trained again from its first epoch")
    assert history(task) == undisturbed()


# What goes wrong


def raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run_epoch(trainer: Trainer) -> None:
        raise error

    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)


def test_an_exception_ends_its_trial_with_a_reason_and_its_text_is_kept(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker({"task": task})
    with monkeypatch.context() as patch:
        raising(patch, ValueError("no such number\nmore lines"))
        result = worker.train()
    report = Report.from_result(result)
    assert (result["done"], report.end, report.error) == (True, "error", "ValueError: no such number")
    assert "no such number\nmore lines" in (folder_of(task) / "error.txt").read_text()
    worker.reset_config({"task": replace(task, number=1, place=FolderPlace(folder_of(task).with_name("cosine-0001")))})
    assert reports(worker)[-1].end == "epochs", "the actor goes on"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("x" * 5000), f"ValueError: {'x' * module.LONGEST_REASON}"),
        (KeyError(), "KeyError: "),
        (ValueError("\udcff"), "ValueError: \\udcff"),
    ],
)
def test_any_exception_has_a_reason_of_one_line(
    error: Exception, reason: str, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, error)
    assert Report.from_result(Worker({"task": task}).train()).error == reason


def test_a_trial_that_diverges_says_where_only_if_asked(task: Task) -> None:
    wild = {"loss_fn": "mse", "lr": 100.0, "clip_norm": None, "model.layer_norm": False, "model.depth": 12}
    settings = {**SETTINGS, **wild, "model.hidden_dim": 16, "batch_size": 16}
    asked, plain = (
        reports(Worker({"task": replace(task, settings=settings, place=FolderPlace(place), debug_nan=debug)}))[-1]
        for place, debug in ((folder_of(task), True), (folder_of(task).with_name("mse-0001"), False))
    )
    assert (asked.end, plain.end, plain.error) == ("diverged", "diverged", "")
    assert asked.error.startswith("first inf in `mse_loss` at losstune/trainer/losses/mse.py:")
    assert (asked.epoch, asked.best) == (plain.epoch, plain.best)


def test_settings_that_are_none_fail_their_trial(task: Task) -> None:
    report = Report.from_result(Worker({"task": replace(task, settings=SETTINGS | {"lr": 0.0})}).train())
    assert (report.end, report.error) == ("error", "UserError: lr: found 0.0; should be greater than 0")


def test_the_reason_is_reported_where_the_text_can_not_be_kept(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ValueError("no such number"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FolderPlace, "keep_error", full)
    assert Report.from_result(Worker({"task": task}).train()).error == "ValueError: no such number"


def test_a_folder_that_can_not_be_written_is_no_fault_of_the_trials(task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    there = replace(task, place=FolderPlace(tmp_path / "file" / "cosine-0000"))
    report = Report.from_result(Worker({"task": there}).train())
    assert report.end == "storage"
    assert report.error.startswith(f"{tmp_path / 'file' / 'cosine-0000'}: can not be written: ")


def test_a_worker_of_an_older_launch_changes_nothing(task: Task) -> None:
    zombie = Worker({"task": task})
    zombie.train()
    newer = Worker({"task": replace(task, passed=(2,), attempt=2)})
    newer.train()
    state = load_checkpoint(folder_of(task) / LAST_FILE)["state"]["epoch"]
    assert Report.from_result(zombie.train()).end == "storage"
    assert load_checkpoint(folder_of(task) / LAST_FILE)["state"]["epoch"] == state == 4


# Data and nodes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of arrays, which stay on disk."""
    (tmp_path / "pairs").mkdir()
    for name, array in sample_arrays().items():
        np.save(tmp_path / "pairs" / f"{name}.npy", array)
    return tmp_path / "pairs"


def test_data_on_disk_train_as_the_same_arrays_in_memory(
    data: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "sent", pickle.dumps(load_pairs(str(data))))
    assert len(Worker.sent) < len(pickle.dumps(sample_pairs())) / 3, "a handle, and no copy"
    reports(Worker({"task": task}))
    assert history(task) == undisturbed()


@pytest.mark.parametrize("lost", ["inputs", "targets"])
def test_a_worker_without_the_data_stops_the_study_and_fails_no_trial(
    lost: str, data: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on a node that has not the data of the driver's."""
    monkeypatch.setattr(Worker, "sent", pickle.dumps(load_pairs(str(data))))
    (data / f"{lost}.npy").unlink()
    report = Report.from_result(Worker({"task": task}).train())
    assert report.end == "storage"  # nothing more is handed out, and the trial waits
    assert report.error.startswith(f"{data / lost}.npy: no such file, on ")
    assert not folder_of(task).exists()


def test_a_worker_asks_first_whether_its_node_can_serve(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Expected] = []
    monkeypatch.setattr(module, "wait_if_unlike", asked.append)
    expected = Expected(Needs(), {}, key="refused")
    TrialTrainable.setup(object.__new__(TrialTrainable), {"task": task}, sample_pairs(), expected)
    assert asked == [expected]


@pytest.mark.parametrize(("share", "seen"), [([0], "0,1"), ([], "")])
def test_a_worker_without_a_share_sees_no_gpu(
    share: list[int], seen: str, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.get_gpu_ids", lambda: share)
    Worker({"task": task})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


@pytest.mark.parametrize(
    ("share", "seen"),
    [
        pytest.param(0.25, {"0": 2, "1": 2}, id="shares of two GPUs"),
        pytest.param(0.0, {"": 4}, id="no share", marks=pytest.mark.slow),
    ],
)
def test_trials_spread_over_all_gpus_and_see_only_their_own(
    share: float, seen: dict[str, int], ray_address: str
) -> None:
    """Placed as Tune places trials: a group of resources each."""

    class Seeing(TrialTrainable):  # here, because workers do not find this module, and so get what is in it
        """A worker that tells which GPUs it sees."""

        def _setup_logdir(self) -> None:
            """Ray's makes a folder in the user's home."""

        def step(self) -> dict[str, Any]:
            return {"seen": os.environ["CUDA_VISIBLE_DEVICES"]}

    wish = Resources(concurrency=4, cpus_per_trial=1, gpus_per_trial=share)
    task = {"task": Task("mse", 0, {}, FolderPlace(Path()), (), (), attempt=1)}
    with ray_running(ray_address, 4, data_bytes=0):
        import ray
        from ray import tune
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        gpus = slots(wish, share, machines_now, grows=True).gpus
        worker = ray.remote(num_cpus=0.5, num_gpus=gpus)(tune.with_parameters(Seeing, pairs=load_pairs("digits")))
        groups = [placement_group([{"CPU": 0.5, **({"GPU": gpus} if gpus else {})}]) for _ in range(4)]
        ray.get([group.ready() for group in groups])
        strategies = [PlacementGroupSchedulingStrategy(placement_group=group) for group in groups]
        trials = [worker.options(scheduling_strategy=strategy).remote(config=task) for strategy in strategies]
        found = Counter(result["seen"] for result in ray.get([trial.train.remote() for trial in trials]))
        for group in groups:
            remove_placement_group(group)
    assert found == seen
