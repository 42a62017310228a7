"""One launch: puts study, searcher, scheduler, workers, tracker and display together."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer.data import Pairs, load_pairs
from trainer.errors import UserError
from trainer.show import say
from trainer.signals import StopRequest, stop_on_signal
from tuning.cluster import Resources, ray_running, slots
from tuning.feasible import check_against_data, load_spaces
from tuning.lock import locked
from tuning.progress import Progress
from tuning.settings import StudySettings
from tuning.space import SearchSpace, merged_settings
from tuning.study import SPEC_FILE, Study, continued, create_study, open_study, study_folder
from tuning.tracker_process import TrackerProcess
from tuning.trials import LossTrials


@dataclass(frozen=True)
class LaunchRequest:
    """What ``losstune launch`` was asked to do; ``options`` are study settings from the command line."""

    spaces: list[str]
    data: str | None
    name: str
    root: Path
    resources: Resources
    options: Mapping[str, Any] = field(default_factory=dict)
    time_budget: float | None = None
    address: str | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a launch ended: the study, the signal that stopped it if one did, whether MLflow has all of it."""

    study: Study
    stopped: StopRequest
    tracked: bool


def launch(request: LaunchRequest, console: Console) -> Outcome:
    """Start a study, or continue it: the same command.

    Raises:
        UserError: anything wrong in the request, before any training.
    """
    spaces = load_spaces(request.spaces)
    exists = (study_folder(request.root, request.name) / SPEC_FILE).exists()
    source = request.data or (open_study(request.root, request.name).spec.data_source if exists else "digits")
    pairs = load_pairs(source)
    if not exists:
        _check_new(spaces, request, pairs)
    with locked(request.root, request.name):
        if exists:
            study = continued(open_study(request.root, request.name), spaces, request.options, pairs.digest)
            study.save()
        else:
            settings = merged_settings(spaces, request.options)
            study = create_study(request.root, request.name, spaces, settings, pairs.source, pairs.digest)
        return _run(study, pairs, request, console)


def _check_new(spaces: list[SearchSpace], request: LaunchRequest, pairs: Pairs) -> None:
    if not spaces:
        raise UserError(f"study {request.name!r} is new: name at least one search space")
    settings = merged_settings(spaces, request.options)
    check_against_data(spaces, settings, pairs)


def _run(study: Study, pairs: Pairs, request: LaunchRequest, console: Console) -> Outcome:
    spaces = study.spec.search_spaces()
    storage = study.storage()
    trials = {loss: LossTrials(storage, loss, space) for loss, space in spaces.items()}
    if not any(_has_work(own, study.spec.settings) for own in trials.values()):
        say(console, f"Study {study.spec.name} has used its budget of {study.spec.settings.budget} for each loss")
        return Outcome(study, StopRequest(), tracked=True)
    data_bytes = pairs.inputs.nbytes + pairs.targets.nbytes
    with stop_on_signal() as stop:
        tracker = TrackerProcess(study, request.tracking_uri)
        try:
            with ray_running(request.address, request.resources, data_bytes) as folder:
                try:
                    _search(study, pairs, trials, request, stop, folder, console)
                finally:
                    tracker.ask_to_finish()  # it writes while Ray shuts down
        finally:
            tracked = tracker.finish(console)
    return Outcome(study, stop, tracked)


def _has_work(trials: LossTrials, settings: StudySettings) -> bool:
    """Whether a loss has a trial to continue, or may start another."""
    unfinished = any(trial.ending is None for trial in trials)
    spent = sum(trial.epochs for trial in trials)
    return unfinished or settings.budget.left(spent, len(trials))


def _search(
    study: Study,
    pairs: Pairs,
    trials: dict[str, LossTrials],
    request: LaunchRequest,
    stop: StopRequest,
    folder: Path,
    console: Console,
) -> None:
    """Search until the budget, the time or a signal ends it; leaves no trial running."""
    from ray import tune

    from tuning.scheduler import AshaScheduler, Rungs
    from tuning.searcher import StudySearcher, ending_from_history
    from tuning.trainable import TrialTrainable

    settings = study.spec.settings
    place = slots(request.resources)
    # Workers start together: one that comes up after the others' first trials have ended is thrown away by Tune,
    # which gives its trial to a worker that is free, and starts another for the next.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(place.concurrency)
    rungs = {loss: Rungs(settings.rungs, settings.reduction_factor) for loss in trials}
    for loss, own in trials.items():
        rungs[loss].rebuild(list(own))
    deadline = time.monotonic() + request.time_budget if request.time_budget else None
    with Progress(study.spec.name, settings, console) as progress:
        searcher = StudySearcher(
            trials, settings, managed_settings(study, place.cpus), study.trials_folder, place.concurrency, progress
        )
        try:
            tune.run(
                tune.with_parameters(TrialTrainable, pairs=pairs),
                name="study",
                search_alg=searcher,
                scheduler=AshaScheduler(rungs),
                num_samples=-1,
                resources_per_trial={"cpu": place.cpus, "gpu": place.gpus},
                reuse_actors=True,
                storage_path=str(folder),
                stop=_stopper(lambda: bool(stop) or (deadline is not None and time.monotonic() > deadline)),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                max_failures=3,
                raise_on_failed_trial=False,
                verbose=0,
            )
        finally:
            timed_out = deadline is not None and time.monotonic() > deadline and not stop
            for trial in searcher.unfinished():
                own = trials[trial.loss_fn]
                if timed_out:
                    history = study.trials_folder / trial.name
                    own.end(trial.number, ending_from_history(history, settings, "pruned", "time budget"))
                else:
                    own.pause(trial.number)


def managed_settings(study: Study, threads: int) -> dict[str, Any]:
    """Training settings that a study gives to every trial."""
    settings = study.spec.settings
    return {
        "data": study.spec.data_source,
        "num_epochs": settings.max_epochs,
        "schedule_epochs": settings.max_epochs,
        "objective": settings.objective,
        "split_seed": settings.seed,
        "threads": threads,
    }


def _stopper(over: Callable[[], bool]) -> Any:
    """Ray's way to end an experiment from outside."""
    from ray.tune import Stopper

    class StopWhen(Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return over()

    return StopWhen()
