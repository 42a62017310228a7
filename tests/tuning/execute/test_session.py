"""What a session starts, in which order it stops it, and how it ends: with Ray and the tracker replaced."""

import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import ray
from ray import tune
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import StopRequest
from losstune.trainer.base.users_modules import drivers_folders
from losstune.tuning.execute import ray_private
from losstune.tuning.execute import session as module
from losstune.tuning.execute.asha import NoCuts
from losstune.tuning.execute.placement import Machine, Resources, Slots
from losstune.tuning.execute.session import Execution, Session, caught_up, session
from losstune.tuning.execute.tune_hooks import Silent
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, create_study
from tests.trainer.samples import sample_pairs
from tests.tuning.samples import settings_of, space_of

QUIET = Console(file=io.StringIO())
NO_CUTS = NoCuts()
MACHINES = [Machine("a", "127.0.0.1", 16, 1, "H100")]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return create_study(Home(tmp_path), "study", [space_of("loss_fn: mse")], settings_of(), "sample", "0" * 64)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What is started and stopped, in this order."""
    log: list[str] = []

    @contextmanager
    def ray_running(
        address: str | None, cores: int, data_bytes: int, workers: Callable[[float, float], int]
    ) -> Iterator[Path]:
        log.append(f"ray starts at {address}, {cores} cores, {workers(8, 0)} workers")
        yield tmp_path / "tune"
        log.append("ray stops")

    class Tracker:
        def __init__(self, study: Study, tracking_uri: str | None, activity: str) -> None:
            self.says = f"tracker starts at {tracking_uri}: {activity}"

        def start(self) -> None:
            if self.says not in log:
                log.append(self.says)

        def ask_to_finish(self) -> None:
            log.append("tracker is asked to finish")

        def finish(self, console: Console, stop: StopRequest) -> bool:
            log.append("tracker ends")
            return False

    monkeypatch.setattr(module, "ray_running", ray_running)
    monkeypatch.setattr(module, "TrackerProcess", Tracker)
    monkeypatch.setattr(module, "machines_now", lambda: MACHINES)
    monkeypatch.setattr(ray, "put", lambda pairs: ("reference", pairs))
    return log


def execution(gpus: float | Literal["auto"] | None = 0.0, concurrency: int | None = 3) -> Execution:
    return Execution(Resources(concurrency, 2, gpus), None, "sqlite:///mlflow.db")


def test_ray_stops_before_the_tracker_has_ended(study: Study, log: list[str]) -> None:
    pairs = sample_pairs()
    with session(study, pairs, execution(), "search", 2, QUIET) as running:
        log.append("trains")
        running.tracker.start()
        assert (running.data, running.nodes, bool(running.stop)) == (("reference", pairs), None, False)
        assert (running.slots.cpus, running.slots.gpus, running.slots.concurrency()) == (2, 0.0, 3)
    assert log == [
        "ray starts at None, 6 cores, 2 workers",
        "trains",
        "tracker starts at sqlite:///mlflow.db: search",
        "tracker is asked to finish",
        "ray stops",
        "tracker ends",
    ]
    assert not running.tracked


def test_the_tracker_ends_whatever_goes_wrong(study: Study, log: list[str]) -> None:
    with pytest.raises(KeyError), session(study, sample_pairs(), execution(), "search", 2, QUIET):
        raise KeyError("a fault of ours")
    assert log[-3:] == ["tracker starts at sqlite:///mlflow.db: search", "tracker is asked to finish", "tracker ends"]


def test_there_is_nothing_to_track_where_ray_does_not_start(
    study: Study, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def not_started(*_: object) -> Iterator[Path]:
        raise UserError("Ray did not start on this machine")
        yield Path()

    monkeypatch.setattr(module, "ray_running", not_started)
    with pytest.raises(UserError), session(study, sample_pairs(), execution(), "search", 2, QUIET):
        pass
    assert log == ["tracker ends"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("starts", [True, False])
def test_a_signal_while_ray_starts_ends_in_order_with_its_code(
    study: Study, log: list[str], monkeypatch: pytest.MonkeyPatch, signum: signal.Signals, starts: bool
) -> None:
    """Never in the midst of the start; and where Ray got the signal too, it is no failure to start."""

    @contextmanager
    def hit(*_: object) -> Iterator[Path]:
        os.kill(os.getpid(), signum)
        log.append("ray starts")
        if not starts:
            raise UserError("Ray did not start on this machine")
        yield Path()
        log.append("ray stops")

    @contextmanager
    def noted(*arguments: Any) -> Iterator[Path]:
        with hit(*arguments) as path:
            try:
                yield path
            finally:
                log.append("ray is stopped")

    monkeypatch.setattr(module, "ray_running", noted)
    with pytest.raises(SystemExit) as ended, session(study, sample_pairs(), execution(), "search", 2, QUIET):
        pytest.fail("went on")
    assert ended.value.code == 128 + signum
    assert log == ["ray starts", *(["ray is stopped"] if starts else []), "tracker ends"]


def test_a_signal_before_ray_starts_starts_nothing(
    study: Study, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hit(*_: object) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "never entered"

    monkeypatch.setattr(module, "ray_running", hit)
    with pytest.raises(SystemExit) as ended, session(study, sample_pairs(), execution(), "search", 2, QUIET):
        pytest.fail("went on")
    assert (ended.value.code, log) == (143, ["tracker ends"])


@pytest.mark.parametrize(
    ("signum", "error", "ends"),
    [
        (15, RuntimeError("Ray died of the same signal"), SystemExit),
        (15, UserError("the study is another launch's"), UserError),
        (None, RuntimeError("Ray died"), RuntimeError),
    ],
)
def test_what_ray_says_after_a_signal_is_the_signal(
    signum: int | None, error: Exception, ends: type[BaseException], study: Study, log: list[str]
) -> None:
    def fail() -> None:
        with session(study, sample_pairs(), execution(), "search", 2, QUIET) as running:
            running.stop.signum = signum
            raise error

    with pytest.raises(ends) as ended:
        fail()
    if isinstance(ended.value, SystemExit):
        assert ended.value.code == 143


@pytest.mark.parametrize(("wish", "share", "trials"), [(None, 1.0, 1), ("auto", 0.25, 4), (0.5, 0.5, 2), (0.0, 0.0, 8)])
def test_the_share_of_a_gpu_is_given_probed_or_one_each(
    wish: float | Literal["auto"] | None,
    share: float,
    trials: int,
    study: Study,
    log: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "probed_share", lambda study, data, cpus, machines, console, stop: 0.25)
    with session(study, sample_pairs(), execution(wish, None), "search", 2, QUIET) as running:
        assert (running.slots.gpus, running.slots.concurrency()) == (share, trials)


def test_with_nothing_to_train_the_tracker_alone_runs(study: Study, log: list[str]) -> None:
    idle = caught_up(study, execution(), "confirm", QUIET)
    assert log == ["tracker starts at sqlite:///mlflow.db: confirm", "tracker ends"]
    assert (idle.tracked, bool(idle.stop)) == (False, False)


# Session.run, which hands all to Tune


class Nodes:
    """Those of a cluster, one of which can not serve once Tune runs."""

    expected = "expected"

    def __init__(self, refusal: str = "") -> None:
        self.said = refusal

    def refusal(self) -> str:
        return self.said


class Starts:
    """A tracker of which is known whether it was started."""

    started = False

    def start(self) -> None:
        self.started = True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Tune is asked to run."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(tune, "with_parameters", lambda trainable, **shared: (trainable, shared))
    monkeypatch.setattr(tune, "run", lambda trainable, **options: asked.update(options, trainable=trainable))
    return asked


def ready(tmp_path: Path, nodes: Any = None) -> Session:
    tracker: Any = Starts()
    running = Session(StopRequest(), tracker, data="reference", nodes=nodes)
    running.slots, running.folder = Slots(2, 0.5, lambda: MACHINES, wanted=1), tmp_path
    return running


def test_a_trial_is_tried_three_times_more_and_workers_are_used_again(asked: dict[str, Any], tmp_path: Path) -> None:
    searcher: Any = object()
    ready(tmp_path).run(searcher, NO_CUTS, over=lambda: False)
    assert asked["search_alg"] is searcher
    assert (asked["max_failures"], asked["reuse_actors"], asked["raise_on_failed_trial"]) == (3, True, False)
    assert asked["resources_per_trial"] == {"cpu": 2, "gpu": 0.5}
    shared = {"pairs": "reference", "expected": None, "folders": drivers_folders(), "system_metrics": True}
    assert asked["trainable"][1] == shared
    assert not asked["checkpoint_config"].checkpoint_at_end
    assert [type(each) for each in asked["callbacks"]] == [Silent]


@pytest.mark.parametrize("wished", [True, False])
def test_workers_are_told_whether_epochs_tell_what_they_took(
    wished: bool, study: Study, log: list[str], asked: dict[str, Any]
) -> None:
    wish = replace(execution(), system_metrics=wished)
    with session(study, sample_pairs(), wish, "search", 2, QUIET) as running:
        running.run(cast("Any", object()), NO_CUTS, over=lambda: False)
    assert asked["trainable"][1]["system_metrics"] is wished


def test_tune_stops_by_a_signal_the_launch_or_a_node(asked: dict[str, Any], tmp_path: Path) -> None:
    over, nodes = [False], Nodes()
    running = ready(tmp_path, nodes)
    searcher: Any = object()
    running.run(searcher, NO_CUTS, over=lambda: over[0])
    stops = asked["stop"]
    assert asked["trainable"][1]["expected"] == "expected"
    assert (stops.stop_all(), stops("id0", {})) == (False, False)
    over[0] = True
    assert stops.stop_all()
    over[0], nodes.said = False, "a node can not serve this study"
    assert stops.stop_all()
    nodes.said, running.stop.signum = "", 2
    assert stops.stop_all()


def test_the_tracker_starts_at_the_first_result(asked: dict[str, Any], tmp_path: Path) -> None:
    running = ready(tmp_path)
    tracker, searcher = cast("Starts", running.tracker), cast("Any", object())
    running.run(searcher, NO_CUTS, over=lambda: False)
    assert not asked["stop"].stop_all()
    assert not tracker.started
    assert not asked["stop"]("id0", {})
    assert tracker.started


def test_the_tracker_starts_without_a_result_if_that_takes_long(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHOWN_SECONDS", -1.0)
    running = ready(tmp_path)
    running.run(cast("Any", object()), NO_CUTS, over=lambda: False)
    assert not asked["stop"].stop_all()
    assert cast("Starts", running.tracker).started


@pytest.mark.parametrize("joined", [False, True])
def test_trials_have_the_launchs_environment_where_ray_is_its_own(
    joined: bool, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[bool] = []

    @contextmanager
    def same_environment() -> Iterator[None]:
        entered.append(not asked)  # before Tune runs
        yield

    monkeypatch.setattr(ray_private, "same_environment", same_environment)
    ready(tmp_path, Nodes() if joined else None).run(cast("Any", object()), NO_CUTS, over=lambda: False)
    assert entered == ([] if joined else [True])


def test_a_node_that_can_not_serve_ends_the_study_with_what_it_lacks(asked: dict[str, Any], tmp_path: Path) -> None:
    searcher: Any = object()
    with pytest.raises(UserError) as refused:
        ready(tmp_path, Nodes("a node can not serve this study: …")).run(searcher, NO_CUTS, over=lambda: False)
    assert str(refused.value) == "a node can not serve this study: …\nthe study waits, and the same command goes on"


def test_after_a_signal_nothing_is_begun(asked: dict[str, Any], tmp_path: Path) -> None:
    running = ready(tmp_path)
    running.stop.signum = 15
    searcher: Any = object()
    running.run(searcher, NO_CUTS, over=lambda: False)
    assert asked == {}
