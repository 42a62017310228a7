"""What a tracker and a sync bring to MLflow, one beside the other: on MLflow's own SQLite store."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands import sync
from losstune.tuning.commands.studies import held
from losstune.tuning.commands.sync import follow, sync_study
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.track import turn as turn_module
from losstune.tuning.track.mlflow_sync import Tracker
from losstune.tuning.track.turn import Turn
from tests.tuning.reported import end, point_of, searched


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, (2, 0))


def uri_of(study: Study) -> str:
    return f"sqlite:///{study.home.where}/mlflow.db"


def shown(study: Study) -> dict[str, str]:
    """The status of each run by its name, which one run alone has."""
    client = MlflowClient(uri_of(study))
    found = client.search_runs([client.get_experiment_by_name("study").experiment_id])
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names), sorted(names)
    return {run.info.run_name: run.info.status for run in found}


def begin_trial(study: Study) -> tuple[LossTrials, int]:
    own = LossTrials(study.storage(), "infonce", study.spec.search_spaces()["infonce"])
    number = len(list(own))
    return own, own.add(point_of("infonce", 0.5, number), seed=number)


def ticks(monkeypatch: pytest.MonkeyPatch, *between: Callable[[], object]) -> None:
    """Let a tracker do what it does again and again, this before each time; then its launch has ended."""
    left = list(between)

    def select(*_: object) -> tuple[list[object], list[object], list[object]]:
        if not left:
            return [io.StringIO()], [], []
        left.pop(0)()
        return [], [], []

    monkeypatch.setattr(sync.select, "select", select)


def test_a_sync_beside_a_launch_leaves_mlflow_to_it(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials begin and end between two looks of the launch's tracker, and a sync would make their runs first."""
    told: list[str] = []

    def sync_beside() -> None:
        own, number = begin_trial(study)
        end(study, own, number, 0.3)
        begin_trial(study)
        with pytest.raises(UserError) as refused:
            sync_study(study, uri_of(study))
        told.append(str(refused.value))

    ticks(monkeypatch, lambda: None, sync_beside, lambda: None)
    with held(study.home, "study"):
        follow(study, uri_of(study), "search")
    assert told == [
        "a launch of study 'study' is running: it brings MLflow up to date itself, at its end at the latest; for "
        "another --tracking-uri wait until then"
    ]
    assert set(shown(study)) == {"infonce", *(f"infonce-{number:04d}" for number in range(4))}
    assert "RUNNING" not in shown(study).values()


def test_a_tracker_waits_for_that_of_a_launch_that_was_killed(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one, asleep in its last look at things, makes runs which the new one would make too."""
    former = Tracker(study, uri_of(study))
    looked: list[dict[str, str]] = []

    def look() -> None:
        looked.append(shown(study))

    def former_ends() -> None:
        former.sync(None)
        own.__exit__(None, None, None)

    with Turn(study) as own:
        assert own.take()
        ticks(monkeypatch, lambda: begin_trial(study), look, former_ends, look)
        follow(study, uri_of(study), "search")
    assert looked == [{}, shown(study) | {"infonce": "RUNNING", "infonce-0002": "RUNNING"}]
    assert set(shown(study)) == {"infonce", *(f"infonce-{number:04d}" for number in range(3))}


def test_a_last_sync_and_one_by_hand_wait_their_turn(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks(monkeypatch)
    for last in (lambda: follow(study, uri_of(study), "search"), lambda: sync_study(study, uri_of(study))):
        with Turn(study) as other:
            assert other.take()
            with monkeypatch.context() as patch:
                patch.setattr(turn_module, "WAIT_SECONDS", -1.0)
                with pytest.raises(UserError, match="another process writes the runs of study 'study'"):
                    last()
            assert not (Path(study.home.where) / "mlflow.db").exists()
    for last in (lambda: follow(study, uri_of(study), "search"), lambda: sync_study(study, uri_of(study))):
        last()
        assert shown(study)["infonce"] == "FINISHED"


def test_where_there_are_no_locks_runs_are_read_again_before_the_last_time(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Turn, "take", lambda self: True)
    monkeypatch.setattr(Turn, "is_sure", False)

    def both_make_it() -> None:
        begin_trial(study)
        Tracker(study, uri_of(study)).sync("search")

    ticks(monkeypatch, lambda: None, both_make_it, lambda: None)
    follow(study, uri_of(study), "search")
    assert set(shown(study)) == {"infonce", *(f"infonce-{number:04d}" for number in range(3))}
    assert "RUNNING" not in shown(study).values()


def test_a_store_that_is_down_now_may_be_up_later(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = sync.Tracker

    def down(*_: object) -> Tracker:
        monkeypatch.setattr(sync, "Tracker", real)
        raise OSError("no answer")

    monkeypatch.setattr(sync, "Tracker", down)
    ticks(monkeypatch, lambda: None, lambda: None)
    follow(study, uri_of(study), "search")
    assert capsys.readouterr().err.splitlines()[0].endswith(" OSError: no answer")
    assert shown(study)["infonce"] == "FINISHED"
