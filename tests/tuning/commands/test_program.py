"""Commands called with arguments, as far as they start no training; a whole program is in tests/test_face.py."""

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import LosstuneError
from losstune.trainer.base.signals import StopRequest
from losstune.trainer.config.config_file import read_config
from losstune.tuning.cli.app import confirm as confirm_command
from losstune.tuning.commands import program
from losstune.tuning.commands.launch import LaunchRequest, Outcome
from losstune.tuning.commands.program import compare, confirm, export, launch, open_study, report, studies
from losstune.tuning.show.notebook import shown_forms
from losstune.tuning.show.status import status_table
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.study import Study
from tests.tuning.reported import VARIANTS, confirmed, searched
from tests.tuning.study.created import created

ARRAYS = {"inputs": np.ones((3, 2)), "targets": np.ones((3, 2))}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    confirmed(searched(root, (4, 4)))
    return root


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("losstune.tuning.commands.sync.sync_study", lambda *_: None)


def test_what_help_shows_of_launch_has_every_setting_of_a_study() -> None:
    assert set(StudySettings.model_fields) <= set(inspect.signature(launch).parameters)
    assert all(name in (launch.__doc__ or "") for name in StudySettings.model_fields)


def test_a_confirmation_has_the_defaults_of_the_command_line() -> None:
    called, typed = (inspect.signature(command).parameters for command in (confirm, confirm_command))
    shared = called.keys() & typed.keys()
    assert shared >= {"top", "seeds", "early", "margin", "cpus_per_trial"}
    assert {name: called[name].default for name in shared} == {name: typed[name].default for name in shared}


def test_a_study_is_found_by_name_where_the_argument_or_the_environment_says(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert studies() == []
    assert [row["study"] for row in studies(storage=place)] == ["study"]
    assert open_study("study", storage=place).folder == place / "studies" / "study"
    monkeypatch.setenv("LOSSTUNE_STORAGE", str(place))
    assert compare("study").winner == compare(open_study("study", storage=place)).winner == "infonce"


def test_a_study_that_can_not_be_read_says_so_in_its_row_in_the_words_of_arguments() -> None:
    lost = created(Path(), name="lost")
    created(Path(), name="untold")
    (lost.folder / "optuna.db").unlink()
    rows = {row["study"]: row for row in studies()}
    assert (rows["untold"]["trials"], rows["untold"]["error"]) == (0, None)
    assert (rows["lost"]["losses"], rows["lost"]["trials"]) == (["mse"], None)
    assert rows["lost"]["error"].startswith(f"{lost.folder}/optuna.db: is gone")
    assert rows["lost"]["error"].endswith(
        "; where they are in a database, study_storage or LOSSTUNE_STUDY_STORAGE names it"
    )
    with pytest.raises(LosstuneError) as refused:
        open_study("lost").status()
    assert str(refused.value) == rows["lost"]["error"]


def test_report_and_export_write_where_they_are_told(place: Path) -> None:
    study = open_study("study", storage=place)
    assert Path(report(study)) == Path("report.html")
    assert Path("report.html").stat().st_size > 1e6
    assert export(study, "cosine.yaml", loss_fn="cosine").trial.startswith("cosine-")
    assert export(study).seeds == 10
    assert Path("best.yaml").exists()


def test_two_variants_of_a_loss_are_told_apart_by_name_in_all_that_is_shown(tmp_path: Path) -> None:
    confirmed(searched(tmp_path, (4, 6), spaces=VARIANTS))
    study = open_study("study")
    assert studies()[0]["losses"] == ["infonce", "sharp"]
    losses = study.status()["losses"]
    assert {name: (own["loss_fn"], len(own["trials"])) for name, own in losses.items()} == {
        "infonce": ("infonce", 4),
        "sharp": ("infonce", 6),
    }
    best = study.best("sharp")
    assert (best.loss, best.loss_fn, best.trial.partition("-")[0]) == ("sharp", "infonce", "sharp")
    frame = study.trials_dataframe()
    assert set(zip(frame["loss"], frame["loss_fn"], strict=True)) == {("infonce", "infonce"), ("sharp", "infonce")}
    assert len(study.optuna("sharp").trials) == 6
    assert "\nsharp (infonce) " in shown_forms(lambda console: console.print(status_table(study.stored)))["text/plain"]

    comparison = compare(study)
    assert (comparison.winner, comparison.pick("sharp").loss_fn) == ("sharp", "infonce")
    assert {(pair.first, pair.second) for pair in comparison.pairs} == {("sharp", "infonce")}
    assert f"sharp (infonce, {comparison.pick('sharp').name}) is the choice" in str(comparison)
    assert "\nsharp (infonce) untuned " in str(comparison)
    picked = {row["loss"]: row["loss_fn"] for row in comparison.to_dict()["rows"] if row["role"] == "pick"}
    assert picked == {"infonce": "infonce", "sharp": "infonce"}

    page = Path(report(study)).read_text()
    assert ">sharp (infonce)<" in page
    assert "<code>infonce.yaml</code>, <code>sharp.yaml</code>: own search spaces" in page
    assert export(study, loss_fn="sharp").trial == comparison.pick("sharp").name
    assert read_config(Path("best.yaml")).settings["loss_fn"] == "infonce"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: launch("mse", study="s", trails=3),
            r"^trails is no argument, and no setting of a study; did you mean",
        ),
        (
            lambda: launch("mse", study="s", x=3),
            r"^x is no argument, and no setting of a study; allowed: objective",
        ),
        (lambda: launch(study="s"), r"^study 's' is new: name at least one search space$"),
        (lambda: launch("mse", "no.npz", study="s"), r"^data no.npz: no such file$"),
        (lambda: launch("mse", ARRAYS, study="s", time_budget="soon"), r"^time_budget: found 'soon'; expected a time"),
        (lambda: launch("mse", ARRAYS, study="s", gpus_per_trial=1.5), r"^gpus_per_trial: found 1.5; expected a share"),
        (
            lambda: launch("mse", ARRAYS, study="s", concurrency=0),
            r"^concurrency: found 0; expected a whole number from 1$",
        ),
        (
            lambda: launch("mse", ARRAYS, study="s", cpus_per_trial=0),
            r"^cpus_per_trial: found 0; expected a whole number from 1$",
        ),
        (
            lambda: launch("mse", (ARRAYS["inputs"], ARRAYS["targets"]), study="s"),  # type: ignore[arg-type]
            r"^data: found a tuple; expected a dict of arrays by name, inputs and targets, or digits, a path",
        ),
        (
            lambda: launch("mse", ARRAYS, study="s", max_epochs=np.int64(0)),
            r"^study: max_epochs: found 0; should be greater than",
        ),
        (
            lambda: launch("mse", ARRAYS, study="s"),
            r"^arrays in memory: the val split has no rows, of 3 in all, which all have one target: .* targets=NAME$",
        ),
        (
            lambda: launch("mse", {"inputs": [1.0]}, study="s"),
            r"^arrays in memory: no array 'targets'; found inputs; if it has another name: columns targets=NAME$",
        ),
        (lambda: launch({"loss_fn": "mse", "space": {"lr": 1}}, ARRAYS, study="s"), r"^space 1:\d+: "),
        (lambda: launch("mse", study="s", storage="s3://b/p"), r"^storage s3://b/p needs study_storage postgresql://"),
        (lambda: open_study("none"), r"^no study 'none' in .*; found: none$"),
        (lambda: confirm("none"), r"^no study 'none' in "),
        (lambda: confirm("none", top=0), r"^top: found 0; expected a whole number from 1$"),
        (lambda: confirm("none", top=1.5), r"^top: found 1\.5; expected a whole number from 1$"),  # type: ignore[arg-type]
        (lambda: confirm("none", seeds=1), r"^seeds: found 1; expected a whole number from 2$"),
        (lambda: confirm("none", seeds="10"), r"^seeds: found '10'; expected a whole number from 2$"),  # type: ignore[arg-type]
    ],
)
def test_errors_speak_of_arguments_and_nothing_is_left(call, message: str) -> None:
    with pytest.raises(LosstuneError, match=message) as caught:
        call()
    assert type(caught.value) is LosstuneError
    assert list(Path().iterdir()) == []


def test_a_study_that_is_not_confirmed_names_the_call_that_does_it(tmp_path: Path) -> None:
    searched(tmp_path, (2, 2))
    with pytest.raises(LosstuneError, match=r"not confirmed yet: losstune.confirm\('study'\) trains its best settings"):
        compare("study")


@pytest.mark.parametrize(("signum", "kind"), [(2, KeyboardInterrupt), (15, SystemExit)])
@pytest.mark.parametrize("on_the_spot", [True, False])
def test_a_launch_that_a_signal_stopped_ends_as_the_signal_would(
    place: Path, monkeypatch: pytest.MonkeyPatch, signum: int, kind: type[BaseException], on_the_spot: bool
) -> None:
    def stopped(request: LaunchRequest, _: object) -> Outcome:
        assert not request.execution.own_process
        request_to_stop = StopRequest()
        request_to_stop.ask(signum)
        if on_the_spot:
            request_to_stop.exit_if_asked()
        study: Study = open_study("study", storage=place).stored
        return Outcome(study, request_to_stop, True)

    monkeypatch.setattr(program, "run_launch", stopped)
    with pytest.raises(kind):
        launch(study="study", storage=place)


def test_what_a_launch_says_on_its_way_is_in_the_words_of_arguments(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def talking(_: LaunchRequest, console: Console) -> Outcome:
        say(console, "Failed trials are tried again with --retry-failed")
        return Outcome(open_study("study", storage=place).stored, StopRequest(), True)

    monkeypatch.setattr(program, "run_launch", talking)
    launch(study="study", storage=place)
    assert capsys.readouterr().out == "Failed trials are tried again with retry_failed\n"


def test_what_a_place_needs_is_held_as_long_as_its_study(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """A study in a bucket has copies in a private folder."""
    left: list[str] = []

    @contextmanager
    def home_at(storage: str, study_storage: str | None) -> Iterator[object]:
        with original(storage, study_storage) as home:
            yield home
        left.append(storage)

    original = program.home_at
    monkeypatch.setattr(program, "home_at", home_at)
    study = open_study("study", storage=place)
    assert left == []
    assert json.dumps(study.status())
    del study
    assert left == [str(place)]
    studies(storage=place)
    assert left == [str(place)] * 2
