"""A whole study whose files are in a bucket and whose trials are in PostgreSQL; workers train in this process."""

import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import psycopg
import pytest
from mlflow.tracking import MlflowClient
from ray.tune.search import Searcher
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import StopRequest
from losstune.trainer.config.config_file import read_config
from losstune.trainer.run.layout import LAST_FILE
from losstune.tuning.commands.confirm import ConfirmRequest, confirm
from losstune.tuning.commands.delete import delete_study
from losstune.tuning.commands.export import export
from losstune.tuning.commands.launch import LaunchRequest, launch
from losstune.tuning.commands.report import report
from losstune.tuning.commands.sync import sync_study
from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.confirm_runs import runs_of
from losstune.tuning.confirm.plan import plans
from losstune.tuning.execute.placement import Resources, Slots
from losstune.tuning.execute.session import Execution, Session
from losstune.tuning.execute.worker import TrialTrainable
from losstune.tuning.show.status import list_json, status_json
from losstune.tuning.storage.home import Home, home_at
from losstune.tuning.storage.lease import Lease
from losstune.tuning.study.study import open_study
from losstune.tuning.study.warm_start import earlier_trials
from losstune.tuning.track.process import TrackerProcess
from tests.conftest import Command
from tests.integration.relay import Relay
from tests.trainer.samples import sample_arrays
from tests.tuning.samples import facts

SMALL = "batch_size: 16, model.hidden_dim: 8, model.depth: 1"
SPACES = {
    "cosine": f"space: {{lr: {{low: 1.0e-4, high: 1.0e-1, log: true}}}}\nfixed: {{{SMALL}}}",
    "mse": f"space: {{lr: {{low: 1.0e-4, high: 1.0e-1, log: true}}}}\nfixed: {{{SMALL}}}",
}
WIDER = """
loss_fn: cosine
space: {lr: {low: 1.0e-4, high: 1.0, log: true}, batch_size: {choices: [16, 32]}}
fixed: {model.hidden_dim: 8, model.depth: 1}
"""
RESOURCES = Resources(1, 1, 0.0)
UNTRACKED = "http://127.0.0.1:1"


class Stopped(Exception):  # noqa: N818 - what SIGKILL is to a launch
    """The launch died here."""


@dataclass
class InProcess(Session):
    """Asks, trains and tells in the order of Ray Tune, one trial at a time; ``between`` is called before each step."""

    between: Callable[[int], None] = lambda step: None

    def run(self, searcher: Searcher, scheduler: Any, over: Callable[[], bool]) -> None:
        nothing: Any = None
        steps = itertools.count(1)
        for trial_id in map(str, itertools.count()):
            if over() or not isinstance(answer := searcher.suggest(trial_id), dict):
                return
            worker = self._worker(answer)
            while not over():
                self.between(next(steps))
                result = worker.train()
                ended = result["done"]
                if not ended and scheduler is not None:
                    ended = scheduler.on_trial_result(nothing, nothing, result) == "STOP"
                if ended:
                    if scheduler is not None:
                        scheduler.on_trial_complete(nothing, nothing, result)
                    searcher.on_trial_complete(trial_id, result)
                    break
                searcher.on_trial_result(trial_id, result)
            worker.stop()

    def _worker(self, config: dict[str, Any]) -> TrialTrainable:
        pairs = self.data

        class Worker(TrialTrainable):
            def setup(self, config: dict[str, Any], _: Any = None) -> None:
                super().setup(config, pairs)

        return Worker(config)


@pytest.fixture(autouse=True)
def between(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happens before each step of a worker, under the key ``do``."""
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path_factory.mktemp("logs")))
    told: dict[str, Any] = {"do": lambda step: None}

    @contextmanager
    def without_ray(study: Any, pairs: Any, *_: Any) -> Iterator[Session]:
        nothing: Any = None
        session = InProcess(StopRequest(), nothing, data=pairs, between=lambda step: told["do"](step))
        session.slots = Slots(1, 0.0, lambda: [], wanted=1)
        yield session

    for module in ("launch", "confirm"):
        monkeypatch.setattr(f"losstune.tuning.commands.{module}.session", without_ray)
    return told


@dataclass(frozen=True)
class Place:
    """What a user names; each command finds it anew, with nothing from the one before."""

    storage: str
    study_storage: str | None
    data: Path

    @contextmanager
    def home(self) -> Iterator[Home]:
        with home_at(self.storage, self.study_storage) as home:
            yield home

    def launch(
        self, epochs: int = 54, name: str = "study", warm_start: str | None = None, *, wider: bool = False
    ) -> None:
        options = {"max_epochs": 9, "grace_epochs": 1, "epochs_per_loss": epochs, "seed": 3}
        names = ["wider", "mse"] if wider else [*SPACES]
        spaces = [str(self.data / f"{space}.yaml") for space in names]
        with self.home() as home:
            data = str(self.data / "pairs.npz")
            execution = Execution(RESOURCES, None, UNTRACKED)
            request = LaunchRequest(spaces, data, name, home, execution, options, warm_start=warm_start)
            launch(replace(request, accept_change=wider), quiet())

    def confirm(self, seeds: int = 2) -> None:
        with self.home() as home:
            request = ConfirmRequest("study", home, 1, seeds, Execution(RESOURCES, None, UNTRACKED))
            confirmed = confirm(request, quiet())
            compare(confirmed.study)  # to be read, though its lease was released

    def fail(self, seed: int) -> None:
        """As if each run of the confirmation with this seed had failed."""
        with self.home() as home:
            study = open_study(home, "study")
            study.files.update()
            for run in runs_of(study, next(plans(study))):
                if run.seed == seed and (result := run.result()) is not None:
                    run.finish(result.model_copy(update={"end": "failed", "best": None}))

    def told(self, name: str = "study") -> tuple[list[Any], Any]:
        """All trials but for their times, and what ``status --json`` says."""
        with self.home() as home:
            study = open_study(home, name)
            return [facts(trial) for own in study.trials().values() for trial in own], status_json(study)


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    arrays = sample_arrays(rows=400)
    np.savez(folder / "pairs.npz", inputs=arrays["inputs"], targets=arrays["targets"])
    for loss, text in SPACES.items():
        (folder / f"{loss}.yaml").write_text(f"loss_fn: {loss}\n{text}\n")
    (folder / "wider.yaml").write_text(WIDER)
    return folder


@pytest.fixture
def place(bucket_uri: str, postgres_uri: str, data: Path) -> Place:
    return Place(f"{bucket_uri}/team", postgres_uri, data)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Place:
    """The same study in a folder, to be launched once a module."""
    return Place(str(tmp_path_factory.mktemp("embedded")), None, data)


@pytest.fixture
def expected(embedded: Place) -> tuple[list[Any], Any]:
    embedded.launch()
    return embedded.told()


def test_one_seed_gives_one_leaderboard_wherever_the_study_lives(
    place: Place, expected: tuple[list[Any], Any], tmp_path: Path, postgres_uri: str, data: Path
) -> None:
    place.launch()
    assert place.told() == expected
    shared = Place(str(tmp_path), postgres_uri, data)
    with shared.home() as home, pytest.raises(UserError, match="no study 'study'"):
        open_study(home, "study")
    with pytest.raises(UserError, match=r"holds trials of another study 'study', which is not the one in"):
        shared.launch()


def test_a_folder_that_all_share_and_postgresql(
    postgres_uri: str, data: Path, tmp_path: Path, expected: tuple[list[Any], Any]
) -> None:
    place = Place(str(tmp_path), postgres_uri, data)
    place.launch()
    assert place.told() == expected
    assert not list(tmp_path.rglob("optuna.db"))
    assert not list(tmp_path.rglob(".lock"))


def test_a_study_begins_with_what_another_one_of_its_place_found(
    place: Place, embedded: Place, expected: tuple[list[Any], Any]
) -> None:
    """By name, the only way to one in a bucket; its trials are copied there, and inform the same proposals."""
    found = []
    for one in (place, embedded):
        one.launch()
        one.launch(name="second", warm_start="study")
        with one.home() as home:
            other, study = open_study(home, "study"), open_study(home, "second")
            known, told = earlier_trials(study), study.trials()
            taken_over = {loss: [trial.point for trial in own] for loss, own in known.items()}
            assert taken_over == {loss: [trial.point for trial in own] for loss, own in other.trials().items()}
        found.append((known, [facts(trial) for own in told.values() for trial in own]))
    assert found[0] == found[1]
    assert found[0][1] != expected[0]  # what the same seed finds without


def test_a_launch_that_dies_again_and_again(
    place: Place, expected: tuple[list[Any], Any], between: dict[str, Any]
) -> None:
    assert dying(between, place.launch) > 5
    assert place.told() == expected


def dying(between: dict[str, Any], launch_again: Callable[[], None]) -> int:
    """Launch until it comes to its end, and let each launch die at its fourth step; returns how many did."""

    def die(step: int) -> None:
        if step == 4:
            raise Stopped

    between["do"] = die
    for deaths in range(60):
        try:
            launch_again()
        except Stopped:
            continue
        return deaths
    raise AssertionError("no end after 60 deaths")


def test_a_space_that_grew_is_gone_on_with_wherever_the_study_lives_and_through_every_death(
    place: Place, embedded: Place, between: dict[str, Any]
) -> None:
    for one in (place, embedded):
        one.launch(27, "grown")
    before, _ = embedded.told("grown")
    embedded.launch(54, "grown", wider=True)
    deaths = dying(between, lambda: place.launch(54, "grown", wider=True))
    assert deaths > 3
    after, _ = found = place.told("grown")
    assert found == embedded.told("grown")
    assert len(after) > len(before)
    assert all("batch_size" in point for name, _, point, *_ in after if name.startswith("cosine"))


def test_a_launch_that_was_taken_over_stops_with_nothing_burnt(
    place: Place, expected: tuple[list[Any], Any], between: dict[str, Any]
) -> None:
    """A minute's sleep, and another launch goes on meanwhile; then the first one wakes up, its worker too."""

    def sleep(step: int) -> None:
        if step == 5:
            between["do"] = lambda step: None
            with psycopg.connect(place.study_storage or "", autocommit=True) as sql:
                sql.execute("UPDATE losstune_leases SET machine = 'other', expires = clock_timestamp()")
            place.launch()

    between["do"] = sleep
    with pytest.raises(UserError) as error:
        place.launch()
    assert "another launch has taken study 'study' over; the same command goes on where it was" in str(error.value)
    assert place.told() == expected
    place.launch()
    assert place.told() == expected


def test_a_launch_that_can_not_renew_its_lease_stops(
    place: Place, expected: tuple[list[Any], Any], between: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = "study 'study' could not be held any longer: this process slept"
    with monkeypatch.context() as patch:
        between["do"] = lambda step: patch.setattr(Lease, "lost", lost) if step == 5 else None
        with pytest.raises(UserError, match=rf"^{lost}; the same command goes on"):
            place.launch()
    between["do"] = lambda step: None
    _, status = place.told()
    assert {trial["state"] for loss in status["losses"].values() for trial in loss["trials"]} <= {
        "complete", "pruned", "paused",
    }  # fmt: skip
    place.launch()
    assert place.told() == expected


def test_a_store_that_goes_away_in_a_search(
    place: Place, expected: tuple[list[Any], Any], between: dict[str, Any], s3_relay: Relay
) -> None:
    with ExitStack() as stack:
        between["do"] = lambda step: stack.enter_context(s3_relay.gone()) if step == 5 else None
        with pytest.raises(UserError) as error:
            place.launch()
    between["do"] = lambda step: None
    assert str(error.value).startswith(f"{place.storage}/studies/study/trials/")
    assert str(error.value).endswith("; the study waits, and the same command goes on once that is mended")
    place.launch()
    assert place.told() == expected


def test_a_study_is_confirmed_compared_exported_reported_shown_and_deleted(
    place: Place, embedded: Place, expected: tuple[list[Any], Any], tmp_path: Path, mlflow_server_uri: str
) -> None:
    found = []
    for one in (place, embedded):
        one.launch()
        one.confirm()
        one.fail(seed=1)
        one.confirm(seeds=3)
        with one.home() as home:
            study = open_study(home, "study")
            study.files.update()
            exported = export(study, None, tmp_path / "best.yaml")
            assert [run.result().end for run in runs_of(study, list(plans(study))[-1])] == ["epochs"] * 12
            found.append((compare(study).model_dump(exclude={"created", "at"}), exported))
            settings = read_config(tmp_path / "best.yaml").settings
            assert settings["loss_fn"] in SPACES
    for one, other in zip(*(timeless_arms(comparison) for comparison, _ in found), strict=True):
        assert one == other
    assert found[0][1] == found[1][1]

    with place.home() as home:
        study = open_study(home, "study")
        study.files.update()
        assert report(study, tmp_path / "report.html", mlflow_server_uri).not_in_mlflow == ""
        assert place.storage in (tmp_path / "report.html").read_text()
    client = MlflowClient(mlflow_server_uri, registry_uri=mlflow_server_uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id], max_results=1000)}
    best = runs[runs["mse"].data.tags["losstune.best_trial"]]
    assert [file.path for file in client.list_artifacts(best.info.run_id)] == ["best.pt", "config.yaml"]
    assert client.get_model_version_by_alias("study", "champion").tags["losstune.run"] in runs
    modified = {name: run.info.end_time for name, run in runs.items()}

    with place.home() as home:  # a copy of its own again: nothing is written twice
        sync_study(open_study(home, "study"), mlflow_server_uri)
        again = client.search_runs([experiment.experiment_id], max_results=1000)
        assert {run.info.run_name: run.info.end_time for run in again} == modified
        contents = {run.info.run_name: run.data.tags.get("losstune.content") for run in again}
        assert contents == {name: run.data.tags.get("losstune.content") for name, run in runs.items()}
        assert [row["study"] for row in list_json(home)] == ["study"]
        delete_study(home, "study", mlflow_server_uri)
    with place.home() as home:
        assert list_json(home) == []
        with home.locked("study"), pytest.raises(UserError, match=rf"no study 'study' in {place.storage}/studies"):
            open_study(home, "study")
    bucket, _, prefix = place.storage.removeprefix("s3://").partition("/")
    left = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/studies/").get("Contents", [])
    assert [one["Key"] for one in left if not one["Key"].endswith("/")] == []
    place.launch()
    assert place.told() == expected


def timeless_arms(comparison: dict[str, Any]) -> list[Any]:
    """All that a comparison says but how long something took."""
    return [(name, without_times(value)) for name, value in comparison.items()]


def without_times(value: Any) -> Any:
    match value:
        case dict():
            timed = {name for name in value if "seconds" in name or name in ("single", "batched")}  # rows a second
            return {name: without_times(inner) for name, inner in value.items() if name not in timed}
        case list() | tuple():
            return [without_times(inner) for inner in value]
        case _:
            return value


def test_each_attempt_has_its_own_folder(place: Place, between: dict[str, Any]) -> None:
    def die(step: int) -> None:
        if step == 2:
            raise Stopped

    between["do"] = die
    with pytest.raises(Stopped):
        place.launch()
    between["do"] = lambda step: None
    place.launch()
    with place.home() as home:
        assert home.bucket is not None
        states = [one.key for one in home.bucket.objects("studies/study/trials") if one.key.endswith(LAST_FILE)]
        assert {key.split("/")[-2][:6] for key in states} == {"000001", "000002"}
        assert home.bucket.find("studies/study/study.yaml") is not None


def test_the_tracker_and_the_commands_find_the_study_by_themselves(
    place: Place, mlflow_server_uri: str, losstune: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place.launch()
    monkeypatch.setattr("losstune.tuning.track.process.PATIENCE_SECONDS", 120.0)
    with place.home() as home:
        study = open_study(home, "study")
        study.files.folder.mkdir(parents=True, exist_ok=True)
        tracker = TrackerProcess(study, mlflow_server_uri, "search")
        tracker.start()
        assert tracker._process is not None
        command = tracker._process.args  # /proc has none yet in the instant in which the program begins
        assert isinstance(command, list)
        assert command[-2:] == ["study", "search"]
        assert tracker.finish(quiet(), StopRequest()), (study.folder / "tracker.log").read_text()
    client = MlflowClient(mlflow_server_uri, registry_uri=mlflow_server_uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    trials, status = place.told()
    shown = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len(shown) == len(trials) + len(SPACES)

    for name, value in {"STORAGE": place.storage, "STUDY_STORAGE": place.study_storage or ""}.items():
        monkeypatch.setenv(f"LOSSTUNE_{name}", value)
    monkeypatch.setenv("LOSSTUNE_TRACKING_URI", mlflow_server_uri)
    assert json.loads(losstune("status", "study", "--json").out) == status
    assert json.loads(losstune("list", "--json").out)[0]["trials"] == len(trials)
    exported = losstune("export", "study", "--output", tmp_path / "best.yaml")
    assert exported.code == 0
    assert "losstune confirm study tells by how much" in exported.out
    assert losstune("report", "study", "--output", tmp_path / "report.html").code == 0
    assert losstune("sync", "study").code == 0
    refused = losstune("delete", "study")
    assert refused.err == (
        f"error: delete study: nobody to ask; add --yes to delete {place.storage}/studies/study for good\n"
    )
    assert losstune("delete", "study", "--yes").code == 0
    assert losstune("status", "study").err == f"error: no study 'study' in {place.storage}/studies; found: none\n"
