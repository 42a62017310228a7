"""Runs tasks on Ray Tune beside a tracker: the one way in which a search and a confirmation train."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from trainer.data import Pairs
from trainer.signals import StopRequest, stop_on_signal
from tuning.cluster import Resources, Slots, ray_running, slots
from tuning.picture import Activity
from tuning.study import Study
from tuning.tracker_process import TrackerProcess

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher


@dataclass(frozen=True)
class Placement:
    """Where tasks run and where they are shown: resources, a Ray cluster to join, MLflow's store."""

    resources: Resources
    address: str | None = None
    tracking_uri: str | None = None


@dataclass
class Session:
    """Ray and the tracker for the time of one launch.

    Attributes:
        pairs: the data, shared with all workers.
        slots: how tasks are placed.
        folder: a private one, for what Tune writes.
        stop: true once a signal asked to stop.
        tracked: whether MLflow has everything; known after the session.
    """

    pairs: Pairs
    stop: StopRequest
    slots: Slots = field(init=False)
    folder: Path = field(init=False)
    tracked: bool = True

    def run(self, searcher: "Searcher", scheduler: "TrialScheduler | None", over: Callable[[], bool]) -> None:
        """Train what the searcher proposes until it has no more, a signal comes, or ``over()``."""
        if self.stop:  # a signal came while Ray started
            return
        from ray import tune

        from tuning.trainable import TrialTrainable

        # Workers start together: one that comes up after the others' first trials have ended is thrown away by Tune,
        # which gives its trial to a worker that is free, and starts another for the next.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(self.slots.concurrency)
        tune.run(
            tune.with_parameters(TrialTrainable, pairs=self.pairs),
            name="study",
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            resources_per_trial={"cpu": self.slots.cpus, "gpu": self.slots.gpus},
            reuse_actors=True,
            storage_path=str(self.folder),
            stop=_stopper(lambda: bool(self.stop) or over()),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            max_failures=3,
            raise_on_failed_trial=False,
            verbose=0,
        )


@contextmanager
def session(
    study: Study, pairs: Pairs, placement: Placement, activity: Activity, console: Console
) -> Iterator[Session]:
    """Start tracker and Ray, and stop both: Ray first, while the tracker writes what is left."""
    with stop_on_signal() as stop:
        running = Session(pairs, stop)
        tracker = TrackerProcess(study, placement.tracking_uri, activity)
        try:
            with ray_running(placement.address, placement.resources, pairs.bytes_in_memory) as folder:
                running.folder, running.slots = folder, slots(placement.resources)
                try:
                    yield running
                finally:
                    tracker.ask_to_finish()
        finally:
            running.tracked = tracker.finish(console, stopped=bool(stop))


def _stopper(over: Callable[[], bool]) -> Any:
    """Ray's way to end an experiment from outside."""
    from ray.tune import Stopper

    class StopWhen(Stopper):
        def __init__(self, over: Callable[[], bool]) -> None:
            self._over = over

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune pickles it with its own state, which is not used

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return self._over()

    return StopWhen(over)
