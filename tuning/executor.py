"""Runs tasks on Ray Tune beside a tracker: the one way in which a search and a confirmation train."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from trainer.data import Pairs
from trainer.errors import UserError
from trainer.signals import StopRequest, stop_on_signal
from tuning.alike import needs_of
from tuning.cluster import ray_running
from tuning.nodes import Nodes, token_in
from tuning.picture import Activity
from tuning.placement import Resources, Slots, default_share, machines_now, slots
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
        nodes: those of a cluster that was joined; None where Ray is our own.
        stop: true once a signal asked to stop.
        tracked: whether MLflow has everything; known after the session.
    """

    pairs: Pairs
    stop: StopRequest
    slots: Slots = field(init=False)
    folder: Path = field(init=False)
    nodes: Nodes | None = None
    tracked: bool = True

    def run(self, searcher: "Searcher", scheduler: "TrialScheduler | None", over: Callable[[], bool]) -> None:
        """Train what the searcher proposes until it has no more, a signal comes, or ``over()``.

        Raises:
            UserError: a node came that can not serve the study.
        """
        if self.stop:  # a signal came while Ray started
            return
        from ray import tune

        from tuning.trainable import TrialTrainable

        expected = self.nodes.expected if self.nodes else None
        tune.run(
            tune.with_parameters(TrialTrainable, pairs=self.pairs, expected=expected),
            name="study",
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            resources_per_trial={"cpu": self.slots.cpus, "gpu": self.slots.gpus},
            reuse_actors=True,
            storage_path=str(self.folder),
            stop=_stopper(lambda: bool(self.stop) or over() or bool(self._refusal())),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            max_failures=3,
            raise_on_failed_trial=False,
            verbose=0,
        )
        if refusal := self._refusal():
            raise UserError(f"{refusal}\nthe study waits, and the same command goes on")

    def _refusal(self) -> str:
        return self.nodes.refusal() if self.nodes else ""


@contextmanager
def session(
    study: Study, pairs: Pairs, placement: Placement, activity: Activity, console: Console
) -> Iterator[Session]:
    """Start tracker and Ray, and stop both: Ray first, while the tracker writes what is left."""
    wish = placement.resources
    cores = (wish.concurrency or 1) * wish.cpus_per_trial
    with stop_on_signal() as stop:
        running = Session(pairs, stop)
        tracker = TrackerProcess(study, placement.tracking_uri, activity)
        try:
            data_bytes = pairs.inputs.nbytes + pairs.targets.nbytes
            with (
                ray_running(placement.address, cores, data_bytes) as folder,
                _nodes(study, running, placement.address, console) as nodes,
            ):
                running.folder, running.nodes = folder, nodes
                running.slots = _slots(wish, nodes if not stop else None)
                try:
                    yield running
                finally:
                    tracker.ask_to_finish()
        finally:
            running.tracked = tracker.finish(console, stopped=bool(stop))


@contextmanager
def _nodes(study: Study, running: Session, address: str | None, console: Console) -> Iterator[Nodes | None]:
    """The nodes of a cluster that was joined, all asked; None where Ray is our own."""
    if address is None:
        yield None
        return
    with token_in(study.folder) as token:
        nodes = Nodes(needs_of(study.spec.search_spaces().values(), running.pairs, token))
        nodes.check(console, lambda: bool(running.stop))
        yield nodes


def _slots(wish: Resources, nodes: Nodes | None) -> Slots:
    machines = nodes.machines if nodes else machines_now
    share = default_share(machines()) if wish.gpus_per_trial is None else wish.gpus_per_trial
    return slots(wish, share, machines, grows=nodes is not None)


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
