"""Runs tasks on Ray Tune beside a tracker: the one way in which a search and a confirmation train."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import StopRequest, stop_on_signal
from losstune.trainer.base.users_modules import drivers_folders
from losstune.trainer.data.pairs import Pairs
from losstune.tuning.execute.gpu_share import probed_share
from losstune.tuning.execute.local_ray import ray_running
from losstune.tuning.execute.nodes import Nodes, token_in
from losstune.tuning.execute.placement import Resources, Slots, default_share, machines_now, slots, workers_at_start
from losstune.tuning.execute.requirements import needs_of
from losstune.tuning.study.study import Study
from losstune.tuning.track.process import TrackerProcess
from losstune.tuning.track.runs import Activity

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher


STOP_SECONDS = 9.0
"""A launch that has not stopped so long after a signal ends at once: its Ray may have died of the same signal."""
SHOWN_SECONDS = 5.0
"""The tracker starts at the first result, or after so long: until then, what it loads would hold up the workers."""


@dataclass(frozen=True)
class Execution:
    """How tasks are executed, and where they are shown.

    Attributes:
        resources: what a task takes, and how many run at a time.
        address: a Ray cluster to join.
        tracking_uri: MLflow's store.
        system_metrics: whether epochs tell what they took of their machine.
        own_process: whether the process is a command's, which a signal may end at once; a program's is its own.
    """

    resources: Resources
    address: str | None = None
    tracking_uri: str | None = None
    system_metrics: bool = True
    own_process: bool = True


@dataclass
class Session:
    """Ray and the tracker for the time of one launch.

    Attributes:
        tracker: follows the study from the first result on.
        system_metrics: whether epochs tell what they took of their machine.
        data: Ray's reference to the pairs: one copy on each node, that all workers there read.
        slots: how tasks are placed.
        folder: a private one, for what Tune writes.
        nodes: those of a cluster that was joined; None where Ray is our own.
        stop: true once a signal asked to stop.
        tracked: whether MLflow has everything; known after the session.
    """

    stop: StopRequest
    tracker: TrackerProcess
    system_metrics: bool = True
    data: Any = None
    slots: Slots = field(init=False)
    folder: Path = field(init=False)
    nodes: Nodes | None = None
    tracked: bool = True

    def run(self, searcher: "Searcher", scheduler: "TrialScheduler", over: Callable[[], bool]) -> None:
        """Train what the searcher proposes until it has no more, a signal comes, or ``over()``.

        Raises:
            UserError: a node came that can not serve the study.
        """
        if self.stop:  # a signal came while Ray started
            return
        from ray import tune

        from losstune.tuning.execute.ray_private import same_environment
        from losstune.tuning.execute.tune_hooks import Silent, StopWhen

        shown = time.monotonic() + SHOWN_SECONDS

        def ends() -> bool:
            if time.monotonic() > shown:
                self.tracker.start()
            return bool(self.stop) or over() or bool(self._refusal())

        with nullcontext() if self.nodes else same_environment():
            tune.run(
                self._trainable(),
                name="study",
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,  # The searcher says when there are no more.
                resources_per_trial={"cpu": self.slots.cpus, "gpu": self.slots.gpus},
                # A new actor imports torch and costs two seconds of a core: one trains trial after trial.
                reuse_actors=True,
                storage_path=str(self.folder),
                stop=StopWhen(ends, self.tracker.start),
                callbacks=[Silent()],
                # Tune saves a class of ours at every stop unless it is told not to; a trial saves itself, at each step.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                # By default Tune gives a trial up when its worker dies once; one goes on from its state.
                max_failures=3,
                # A trial that failed is told to the truth, and is no reason to raise at the end of all.
                raise_on_failed_trial=False,
                verbose=0,
            )
        if refusal := self._refusal():
            raise UserError(f"{refusal}\nthe study waits, and the same command goes on")

    def _trainable(self) -> Any:
        """The class that trains in the workers, with what each of them needs."""
        from ray import tune

        from losstune.tuning.execute.worker import TrialTrainable

        return tune.with_parameters(
            TrialTrainable,
            pairs=self.data,
            expected=self.nodes.expected if self.nodes else None,
            folders=drivers_folders(),
            system_metrics=self.system_metrics,
        )

    def _refusal(self) -> str:
        return self.nodes.refusal() if self.nodes else ""


@contextmanager
def session(
    study: Study, pairs: Pairs, execution: Execution, activity: Activity, tasks: int, console: Console
) -> Iterator[Session]:
    """Start Ray, and stop it, then the tracker, which writes meanwhile what is left.

    Args:
        tasks: how many there are to train at the least: so many workers start with Ray, if it has room for them.
    """
    wish = execution.resources
    cores = (wish.concurrency or 1) * wish.cpus_per_trial
    with stop_on_signal(STOP_SECONDS, own_process=execution.own_process) as stop:
        tracker = TrackerProcess(study, execution.tracking_uri, activity)
        running = Session(stop, tracker, execution.system_metrics)
        try:
            with ExitStack() as stack:
                workers = partial(workers_at_start, wish, tasks)
                starting = ray_running(execution.address, cores, pairs.bytes_in_memory, workers)
                running.folder = stack.enter_context(_unless_asked_to_stop(starting, stop))
                running.nodes = stack.enter_context(_nodes(study, pairs, execution.address, stop, console))
                import ray

                running.data = ray.put(pairs)
                running.slots = _slots(study, running, wish, console)
                try:
                    yield running
                finally:
                    tracker.start()
                    tracker.ask_to_finish()
        except Exception as error:
            # A signal to all processes of a launch ends Ray too, which then raises whatever it was about.
            if stop and not isinstance(error, UserError):
                raise SystemExit(stop.exit_code) from error
            raise
        finally:
            running.tracked = tracker.finish(console, stop)


@contextmanager
def _unless_asked_to_stop(starting: AbstractContextManager[Path], stop: StopRequest) -> Iterator[Path]:
    """Ray, unless a signal came before or while it started: then it is stopped again, and all ends.

    Not on the spot: out of the midst of its start Ray can not be stopped in order, and may leave a process, or crash.
    What takes too long is ended by whoever waits for the end after the signal.

    Raises:
        SystemExit: a signal came; also where Ray did not start, which may be because it got the signal too.
    """
    stop.exit_if_asked()
    try:
        path = starting.__enter__()
    except UserError:
        stop.exit_if_asked()
        raise
    with ExitStack() as stack:
        stack.push(starting.__exit__)
        stop.exit_if_asked()
        yield path


def caught_up(study: Study, execution: Execution, activity: Activity, console: Console) -> Session:
    """A session in which nothing is left to train: MLflow gets what it may lack."""
    with stop_on_signal(STOP_SECONDS, own_process=execution.own_process) as stop:
        idle = Session(stop, TrackerProcess(study, execution.tracking_uri, activity))
        idle.tracker.start()
        idle.tracked = idle.tracker.finish(console, stop)
    return idle


@contextmanager
def _nodes(
    study: Study, pairs: Pairs, address: str | None, stop: StopRequest, console: Console
) -> Iterator[Nodes | None]:
    """The nodes of a cluster that was joined, all asked; None where Ray is our own."""
    if address is None:
        yield None
        return
    with token_in(study.folder) if study.home.bucket is None else nullcontext() as token:  # a bucket needs no folder
        nodes = Nodes(needs_of(study.spec.search_spaces().values(), pairs, token))
        nodes.check(console, lambda: bool(stop))
        yield nodes


def _slots(study: Study, running: Session, wish: Resources, console: Console) -> Slots:
    """Where trials run, once it is known which share of a GPU each has."""
    nodes = running.nodes if not running.stop else None  # after a signal, perhaps not all have answered
    machines = nodes.machines if nodes else machines_now
    match wish.gpus_per_trial:
        case None:
            share = default_share(machines())
        case "auto":
            share = probed_share(
                study, running.data, wish.cpus_per_trial, machines(), console, lambda: bool(running.stop)
            )
        case given:
            share = given
    return slots(wish, share, machines, grows=running.nodes is not None)
