"""A study as Optuna's own users look at it: plots, data frames, the dashboard. Written by the product, without Ray."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import optuna
import optuna.visualization as plots
import pytest
from optuna.terminator import BestValueStagnationEvaluator
from optuna.trial import TrialState

from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import create_study
from tests.tuning.reported import point_of
from tests.tuning.samples import CONDITIONAL, cut, settings_of, space_of, used_up

TRIALS, OBJECTIVE = 40, "val/mrr"
WITHOUT_VALUES = {"plot_intermediate_values", "plot_timeline"}
OF_SEVERAL_OBJECTIVES = {"plot_hypervolume_history", "plot_pareto_front"}
NAMES = [name for name in plots.__all__ if name.startswith("plot_") and name not in OF_SEVERAL_OBJECTIVES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a study of 40 trials with a conditional parameter is: one in five used its epochs, the others were cut."""
    root = tmp_path_factory.mktemp("looked_at")
    settings = settings_of(max_epochs=27, grace_epochs=3, reduction_factor=3, trials=TRIALS)
    study = create_study(Home(root), "study", [space_of(CONDITIONAL)], settings, "digits", "0" * 64)
    own = study.open_trials(study.storage())["infonce"]
    places = np.random.default_rng(0).uniform(size=TRIALS)
    for number, place in enumerate(places):
        own.add(point_of("infonce", float(place), number), seed=number)
        value = 0.4 - 0.3 * abs(place - 0.5)
        own.report(number, 3, 0.8 * value)
        own.end(number, cut(0.8 * value, 3) if number % 5 else used_up(value))
    return study.folder


@pytest.fixture(scope="module")
def study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="infonce", storage=f"sqlite:///{folder / 'optuna.db'}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_plot_works_and_takes_the_objectives_name(name: str, study: optuna.Study) -> None:
    options: dict[str, Any] = {} if name in WITHOUT_VALUES else {"target_name": OBJECTIVE}
    if name == "plot_terminator_improvement":  # by default it fits a Gaussian process to each prefix of the trials
        options = {"improvement_evaluator": BestValueStagnationEvaluator()}
    figure = getattr(plots, name)(study, **options)
    assert len(figure.data) > 0
    if "target_name" in options:
        assert OBJECTIVE in json.dumps(figure.to_plotly_json(), default=str)


def test_a_data_frame_has_a_value_of_every_trial_and_what_it_was(study: optuna.Study) -> None:
    frame = study.trials_dataframe()
    assert frame[f"value_{OBJECTIVE}"].notna().sum() == TRIALS
    assert (frame["state"] == "PRUNED").sum() == 0.8 * TRIALS
    told = frame[[f"user_attrs_{name}" for name in ("loss", "trial", "seed", "epochs", "reason")]]
    assert told.iloc[0].tolist() == ["infonce", "infonce-0000", 0, 27, "used its epochs"]
    assert told.iloc[39].tolist() == ["infonce", "infonce-0039", 39, 3, "cut at rung 3"]
    assert told.notna().all(axis=None)


def test_importances_read_complete_trials_alone(study: optuna.Study) -> None:
    """As docs/studies.md says: the same with and without the trials that were cut."""
    kept = optuna.create_study(direction="maximize")
    kept.add_trials(study.get_trials(states=(TrialState.COMPLETE,)))
    assert optuna.importance.get_param_importances(study) == optuna.importance.get_param_importances(kept)


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def dashboard(folder: Path) -> Iterator[str]:
    from optuna_dashboard import wsgi

    app = wsgi(optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}"))
    with make_server("127.0.0.1", 0, app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def asked(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


def test_the_dashboard_shows_every_value_under_the_objectives_name(dashboard: str) -> None:
    (found,) = asked(f"{dashboard}/api/studies")["study_summaries"]
    detail = asked(f"{dashboard}/api/studies/{found['study_id']}?after=0")
    assert found["study_name"] == "infonce"
    assert detail["objective_names"] == [OBJECTIVE]
    assert len(detail["trials"]) == TRIALS
    assert all(len(trial["values"]) == 1 for trial in detail["trials"])
    attributes = {one["key"]: one["value"] for one in detail["trials"][1]["user_attrs"]}
    assert attributes.items() >= {"loss": "infonce", "trial": "infonce-0001", "epochs": "3"}.items()


def test_the_dashboards_pages_and_its_importances_answer(dashboard: str) -> None:
    for page in ("dashboard", "dashboard/studies/0", "dashboard/studies/0/analytics", "dashboard/studies/0/trials"):
        with urllib.request.urlopen(f"{dashboard}/{page}", timeout=60) as answer:
            assert answer.status == 200
    (found,) = asked(f"{dashboard}/api/studies")["study_summaries"]
    (importances,) = asked(f"{dashboard}/api/studies/{found['study_id']}/param_importances")["param_importances"]
    assert "temperature" in {one["name"] for one in importances}
