"""Out of memory on a shared GPU, without one: the trial or run comes again alone, after all others, or fails."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.tune.search import Searcher
from rich.console import Console

from losstune.trainer.base.files import make_folder
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.run.history import Record, read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.trainer.run.loop import Trainer
from losstune.tuning.confirm.arms import Arm
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.confirm.plan import Plan
from losstune.tuning.execute.asha import AshaScheduler
from losstune.tuning.execute.confirm_tasks import ConfirmTasks
from losstune.tuning.execute.search_tasks import SearchTasks
from losstune.tuning.execute.task_searcher import TaskSearcher
from losstune.tuning.execute.worker import TrialTrainable
from losstune.tuning.search.rungs import Rungs
from losstune.tuning.show.confirm_progress import ConfirmProgress
from losstune.tuning.show.progress import Progress
from losstune.tuning.storage.home import Home
from losstune.tuning.storage.run_places import FolderPlace
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.messages import Report, Task
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.study import Study, create_study
from tests.reliability.tallies import Recorder
from tests.trainer.samples import sample_pairs, timeless
from tests.tuning.samples import settings_of, space_of
from tests.tuning.simulation import folder_of

FAULT = "out of memory on a shared GPU"
NO_ROOM = "CUDA out of memory. Tried to allocate 2.00 GiB."
SMALL = {"loss_fn": "cosine", "model.hidden_dim": 8, "model.depth": 1, "device": "cpu", "threads": 1}
EPOCHS = 4


class Gpu:
    """Has no room for some epochs, so many times each; keeps which were trained. Trials are known by their seeds."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.refused = 0
        self.trained: list[tuple[int, int]] = []
        self._full: dict[tuple[int, int], int] = {}
        run_epoch = Trainer.run_epoch

        def epoch_with_little_room(trainer: Trainer) -> Record:
            which = trainer.config.seed, trainer.epoch + 1
            if self._full.get(which, 0) > 0:
                self._full[which] -= 1
                self.refused += 1
                raise torch.OutOfMemoryError(f"{NO_ROOM}\nmore lines")
            record = run_epoch(trainer)
            self.trained.append(which)
            return record

        patch.setattr(Trainer, "run_epoch", epoch_with_little_room)

    def refuse(self, seed: int, epoch: int, times: int) -> None:
        self._full[seed, epoch] = times


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    logs = str(tmp_path_factory.mktemp("logs"))  # or Ray makes a folder in the user's home
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", logs)
    return Gpu(monkeypatch)


class Worker(TrialTrainable):
    """What Tune makes of it: one that has its data."""

    def setup(self, config: dict[str, Any], pairs: Pairs | None = None) -> None:
        super().setup(config, sample_pairs())


class Tune:
    """Asks, trains and tells in the order of Ray Tune, with real trainables and no actors."""

    def __init__(self, searcher: Searcher, scheduler: AshaScheduler | None = None) -> None:
        self._searcher = searcher
        self._scheduler = scheduler
        self._workers: dict[str, Worker] = {}
        self.log: list[tuple[str, str, int]] = []
        """Started or ended, which trial or run, and how many others were running."""

    def run(self) -> None:
        """Once it hears of an end, it does not ask again."""
        finished, asked = False, 0
        while True:
            while not finished:
                asked += 1
                answer: Any = self._searcher.suggest(f"id{asked}")
                finished = answer == Searcher.FINISHED
                if not isinstance(answer, dict):
                    break
                self._note("started", answer["task"])
                self._workers[f"id{asked}"] = Worker(answer)
            if not self._workers:
                assert finished, "nothing runs and nothing comes"
                return
            trial_id, worker = next(iter(self._workers.items()))
            del self._workers[trial_id]
            self._tell(trial_id, worker, worker.train())

    def _tell(self, trial_id: str, worker: Worker, result: dict[str, Any]) -> None:
        nothing: Any = None
        goes_on = not result["done"] and (
            self._scheduler is None or self._scheduler.on_trial_result(nothing, nothing, result) == "CONTINUE"
        )
        if goes_on:
            self._searcher.on_trial_result(trial_id, result)
            self._workers[trial_id] = worker  # the others come before its next turn
            return
        if self._scheduler is not None:
            self._scheduler.on_trial_complete(nothing, nothing, result)
        self._searcher.on_trial_complete(trial_id, result)
        self._note("ended", worker.config["task"])

    def _note(self, what: str, task: Task) -> None:
        self.log.append((what, folder_of(task).name, len(self._workers)))


def study_in(root: Path) -> Study:
    text = "loss_fn: cosine\nspace: {lr: {low: 1e-3, high: 1e-2}}"
    settings = settings_of(max_epochs=EPOCHS, grace_epochs=2, reduction_factor=2, trials=4, sampler="random")
    return create_study(Home(root), "study", [space_of(text)], settings, "sample", "0" * 64)


def search(study: Study, slots: int) -> tuple[Tune, LossTrials]:
    """A launch of a study, on sample data, with a scheduler that cuts nobody."""
    settings, (space,) = study.spec.settings, study.spec.search_spaces().values()
    own = LossTrials(study.storage(), "cosine", space)
    progress = Progress("study", settings, Console(file=io.StringIO()))
    managed = {**SMALL, "num_epochs": EPOCHS, "schedule_epochs": EPOCHS}
    tasks = SearchTasks({"cosine": own}, settings, {}, managed, study.files, progress, 1, "optuna.db")
    searcher = TaskSearcher(tasks, lambda: slots)
    return Tune(searcher, AshaScheduler({"cosine": Rungs((), 2)}, searcher.guarded(tasks.record_rung))), own


def seed_of(study: Study, number: int) -> int:
    return derived_seed(study.spec.settings.seed, "cosine", number)


def numbers(folder: Path) -> list[dict[str, float]]:
    return timeless(read_history(folder / HISTORY_FILE))


def test_the_result_of_a_trainable_says_that_there_was_no_room(gpu: Gpu, tmp_path: Path) -> None:
    gpu.refuse(7, 3, 1)
    settings = {**SMALL, "num_epochs": EPOCHS, "seed": 7}
    task = Task("cosine", 0, settings, FolderPlace(tmp_path / "cosine-0000"), (2,), (), 1)
    trainable = Worker({"task": task})
    assert Report.from_result(trainable.train()).epoch == 2
    result = trainable.train()
    report = Report.from_result(result)
    assert result["done"]
    assert (report.end, report.error, report.epoch) == ("memory", NO_ROOM, 0)
    assert len(numbers(folder_of(task))) == 2
    assert not (folder_of(task) / "error.txt").exists()


@pytest.mark.parametrize("which", [0, 3], ids=["the first", "the last"])
@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("slots", [1, 2])
def test_a_trial_without_room_goes_on_alone_after_all_others(
    which: int, epoch: int, slots: int, gpu: Gpu, tmp_path: Path, record: Recorder
) -> None:
    calm = study_in(tmp_path / "calm")
    search(calm, slots)[0].run()
    study = study_in(tmp_path / "full")
    gpu.trained.clear()
    gpu.refuse(seed_of(study, which), epoch, 1)
    tune, own = search(study, slots)
    tune.run()
    name = f"cosine-{which:04d}"
    assert gpu.refused == 1
    assert tune.log[-2:] == [("started", name, 0), ("ended", name, 0)]
    assert sum(entry[:2] == ("started", name) for entry in tune.log) == 2
    assert [trial.state for trial in own] == ["complete"] * 4
    assert len(set(gpu.trained)) == len(gpu.trained) == 4 * EPOCHS
    for number in range(4):
        folder = f"cosine-{number:04d}"
        assert numbers(study.trials_folder / folder) == numbers(calm.trials_folder / folder)
    record(2, FAULT, note="goes on alone from its checkpoint")


def test_a_trial_without_room_alone_fails_with_what_it_had(gpu: Gpu, tmp_path: Path, record: Recorder) -> None:
    study = study_in(tmp_path)
    gpu.refuse(seed_of(study, 1), 3, 2)
    tune, own = search(study, 2)
    tune.run()
    ending = own[1].ending
    assert tune.log[-2:] == [("started", "cosine-0001", 0), ("ended", "cosine-0001", 0)]
    assert ending is not None
    assert (own[1].state, ending.epochs) == ("failed", 2)
    assert ending.reason == f"no room on its GPU, with nothing of this study beside it: {NO_ROOM}"
    history = read_history(study.trials_folder / "cosine-0001" / HISTORY_FILE)
    assert ending.best == max(epoch["val/mrr"] for epoch in history)
    assert [trial.state for trial in own] == ["complete", "failed", "complete", "complete"]
    record(2, FAULT, injected=2, note="fails if there is no room then")


def test_several_without_room_come_one_by_one(gpu: Gpu, tmp_path: Path, record: Recorder) -> None:
    study = study_in(tmp_path)
    for number in (0, 1, 3):
        gpu.refuse(seed_of(study, number), 3, 1)
    tune, own = search(study, 3)
    tune.run()
    assert gpu.refused == 3
    assert {others for what, _, others in tune.log[-6:]} == {0}
    assert [trial.state for trial in own] == ["complete"] * 4
    assert len(set(gpu.trained)) == len(gpu.trained)
    record(2, FAULT, injected=3)


def confirmation(study: Study, slots: int) -> tuple[Tune, list[ConfirmRun]]:
    """Three runs of one setting."""
    arm = Arm(
        name="cosine-0000",
        loss_fn="cosine",
        role="candidate",
        settings={**SMALL, "num_epochs": EPOCHS, "schedule_epochs": EPOCHS},
        search_value=0.5,
    )
    runs = [ConfirmRun(study, arm, seed) for seed in range(3)]
    left = [run for run in runs if run.result() is None]
    make_folder(runs[0].folder.parent)
    progress = ConfirmProgress("study", "val/mrr", EPOCHS, runs, Console(file=io.StringIO()))
    plan = Plan(number=1, created="", top=1, seeds=3, split_given=False, arms=[arm], starts={}, versions={})
    return Tune(TaskSearcher(ConfirmTasks(study, plan, left, progress, 1), lambda: slots)), runs


@pytest.mark.parametrize("which", [0, 2], ids=["the first", "the last"])
@pytest.mark.parametrize("slots", [1, 2])
def test_a_run_of_a_confirmation_without_room_comes_again_alone(
    which: int, slots: int, gpu: Gpu, tmp_path: Path, record: Recorder
) -> None:
    tune, runs = confirmation(study_in(tmp_path), slots)
    gpu.refuse(runs[which].settings["seed"], 1, 1)
    tune.run()
    assert gpu.refused == 1
    assert tune.log[-2:] == [("started", f"seed-{which:02d}", 0), ("ended", f"seed-{which:02d}", 0)]
    for run in runs:
        result = run.result()
        assert result is not None
        assert (result.end, result.epochs) == ("epochs", EPOCHS)
    assert len(set(gpu.trained)) == len(gpu.trained) == 3 * EPOCHS
    record(2, FAULT)


def test_a_run_of_a_confirmation_without_room_alone_fails(gpu: Gpu, tmp_path: Path, record: Recorder) -> None:
    tune, runs = confirmation(study_in(tmp_path), 2)
    gpu.refuse(runs[1].settings["seed"], 1, 2)
    tune.run()
    results = [run.result() for run in runs]
    assert [result and (result.end, result.reason) for result in results] == [
        ("epochs", ""), ("failed", NO_ROOM), ("epochs", ""),
    ]  # fmt: skip
    assert tune.log[-2:] == [("started", "seed-01", 0), ("ended", "seed-01", 0)]
    record(2, FAULT, injected=2)
