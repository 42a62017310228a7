"""Ray Trainable ↔ Trainer: one actor trains one trial after another, each to its next rung and back."""

import os
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import ray
import torch
from ray import tune

from losstune.trainer.base.users_modules import search_in
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.npy import DataNotHereError
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import ResidentData, check_rows, resident_data
from losstune.trainer.run.attempt import StorageError
from losstune.trainer.run.checkpoint import DamagedCheckpointError
from losstune.trainer.run.device import pick_device
from losstune.trainer.run.history import Record
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.train import set_threads
from losstune.tuning.execute.counters import measured
from losstune.tuning.execute.nodes import wait_if_unlike
from losstune.tuning.execute.requirements import Expected
from losstune.tuning.study.messages import Fault, Report, Task

STEP_SECONDS = 10.0
"""A step ends at a rung, or after about this long, so that progress shows and little is lost."""

LONGEST_REASON = 1000
"""Characters of an exception's text that are a trial's reason; what :meth:`RunPlace.keep_error` keeps has all."""


class TrialTrainable(tune.Trainable):
    """Trains the trials it is handed. Whether a trial is new or continued, its folder tells."""

    def setup(
        self,
        config: dict[str, Any],
        pairs: Pairs | None = None,
        expected: Expected | None = None,
        folders: Sequence[str] = (),
        system_metrics: bool = True,
    ) -> None:
        """Take the data, once for the life of the actor, and the first trial.

        Args:
            expected: what a node of a cluster must have; None on a machine of our own.
            folders: where the driver finds the user's modules.
            system_metrics: whether epochs tell what they took of their machine.
        """
        assert pairs is not None
        search_in(*folders)
        if expected is not None:
            wait_if_unlike(expected)
        # A worker with a share of a GPU sees that one only. Ray leaves one without a share all GPUs of its machine, and
        # torch would train there.
        if ray.is_initialized() and not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._pairs = pairs
        self._system_metrics = system_metrics
        self._data: dict[int, ResidentData] = {}
        self._run: _TrialRun | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial; everything that can fail waits for :meth:`step`, where it gets a reason."""
        self.cleanup()
        self._task: Task = new_config["task"]
        return True

    def cleanup(self) -> None:
        """The trial is over, or this actor is."""
        if self._run is not None:
            self._run.close()
        self._run = None

    def step(self) -> dict[str, Any]:
        """Train to the next rung, or for about ten seconds."""
        try:
            if self._run is None:
                self._run = self._open_run()
            return self._run.advance().to_result()
        except (StorageError, DataNotHereError) as error:
            return self._ended("storage", str(error)).to_result()
        except torch.OutOfMemoryError as error:
            return self._ended("memory", str(error).splitlines()[0]).to_result()
        except Exception as error:
            return self._failed(error).to_result()
        finally:
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()  # torch keeps freed memory for itself, and other trials share this GPU.

    def _open_run(self) -> "_TrialRun":
        config = set_threads(TrainConfig.from_flat(self._task.settings))
        if config.split_seed not in self._data:  # a search has one split, a confirmation one for each seed
            self._data = {config.split_seed: resident_data(self._pairs, config, pick_device(config.device))}
        data = self._data[config.split_seed]
        check_rows(config, data)

        def new_trainer() -> Trainer:
            return Trainer(config, data, debug_nan=self._task.debug_nan)

        return _TrialRun(self._task, new_trainer, system_metrics=self._system_metrics)

    def _failed(self, error: Exception) -> Report:
        """The trial ends here; its siblings, and this actor, go on."""
        with suppress(OSError):  # where the text can not be kept, the trial ends as it would
            self._task.place.keep_error(traceback.format_exc())
        text = str(error).encode(errors="backslashreplace").decode().strip().splitlines()
        return self._ended("error", f"{type(error).__name__}: {text[0][:LONGEST_REASON] if text else ''}")

    def _ended(self, end: Fault, reason: str) -> Report:
        return Report(
            loss=self._task.loss,
            number=self._task.number,
            epoch=0,
            best=float("-inf"),
            best_epoch=0,
            end=end,
            error=reason,
            passed=self._task.passed,
            seconds=0.0,
        )


class _TrialRun:
    """A trial in training: its trainer, and where it is kept."""

    def __init__(self, task: Task, new_trainer: Callable[[], Trainer], *, system_metrics: bool) -> None:
        self._task = task
        self._system_metrics = system_metrics
        self._trainer = new_trainer()
        self._notes: tuple[str, ...] = ()
        with ExitStack() as opening:
            self._store = opening.enter_context(task.place.opened(task.attempt))
            if not self._restored():
                self._trainer = new_trainer()  # a state that failed half-way has left its marks on the first
                self._store.start(self._trainer.config)
            self._opened = opening.pop_all()
        epoch, known = self._trainer.epoch, max(task.passed, default=0)
        self._untold = self._trainer.end is not None or (epoch in task.rungs and epoch > known)

    def _restored(self) -> bool:
        """Go on from the newest whole state that is kept, if there is one."""
        if not self._store.holds_run:
            return False
        try:
            self._notes = tuple(self._store.restore(self._trainer).damage)
        except DamagedCheckpointError as error:
            self._notes = (f"{error}; trained again from its first epoch",)
            return False
        return True

    def close(self) -> None:
        """Leave nothing behind on this machine but the run."""
        self._opened.close()

    def advance(self) -> Report:
        """First tell what the checkpoint knows and the truth does not; otherwise train on."""
        records: list[Record] = []
        if not self._untold:
            records = self._train()
            self._store.save(self._trainer, records)
        self._untold = False
        trainer = self._trainer
        return Report(
            loss=self._task.loss,
            number=self._task.number,
            epoch=trainer.epoch,
            best=trainer.best_value,
            best_epoch=trainer.best_epoch,
            end=trainer.end,
            error=trainer.origin,
            passed=self._task.passed,
            seconds=sum(record["seconds"] for record in records),
            notes=self._notes,
        )

    def _train(self) -> list[Record]:
        target = next((rung for rung in self._task.rungs if rung > self._trainer.epoch), None)
        began = time.monotonic()
        records: list[Record] = []
        while self._trainer.end is None and self._trainer.epoch != target:
            records.append(self._epoch())
            if time.monotonic() - began > STEP_SECONDS:
                break
        return records

    def _epoch(self) -> Record:
        trainer = self._trainer
        if not self._system_metrics:
            return trainer.run_epoch()
        return measured(trainer.run_epoch, trainer.config.threads or 1, trainer.device)
