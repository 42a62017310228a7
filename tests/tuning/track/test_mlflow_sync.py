"""MLflow holds what the truth says, also of a trial whose history became shorter: on MLflow's own SQLite store."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.run.history import history_line
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.storage.study_files import FolderFiles
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import Ending
from losstune.tuning.track.mlflow_sync import Tracker
from tests.tuning.reported import curve, point_of, searched, write_run

POINT = point_of("infonce", 0.5, 4)


def shown(client: MlflowClient, name: str) -> list[tuple[int, float]]:
    """A run's objective, epoch by epoch; there is one run of this name."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"attributes.run_name = '{name}'")
    history = client.get_metric_history(run.info.run_id, "val/mrr")
    return sorted((point.step, point.value) for point in history)


def write_epochs(study: Study, name: str, epochs: int) -> list[tuple[int, float]]:
    """A history of so many epochs; returns what is to be seen of it."""
    values = list(enumerate(curve(0.4, epochs), start=1))
    records = ({"epoch": e, "time": 100.0 + e, "seconds": 0.1, "lr": 0.01, "val/mrr": value} for e, value in values)
    (study.trials_folder / name / HISTORY_FILE).write_text("".join(map(history_line, records)))
    return values


@pytest.mark.parametrize("same_tracker", [True, False])
def test_epochs_that_are_no_longer_in_a_history_are_not_shown(tmp_path: Path, same_tracker: bool) -> None:
    """A worker that nobody reaches trains on; the trial goes on elsewhere, and ends before what that one wrote."""
    study, uri = searched(tmp_path, (0, 0)), f"sqlite:///{tmp_path}/mlflow.db"
    own = LossTrials(study.storage(), "infonce", study.spec.search_spaces()["infonce"])
    name = own[own.add(POINT, seed=0)].name
    write_run(study.trials_folder / name, own.space.settings(POINT), [])
    tracker, client = Tracker(study, uri), MlflowClient(uri)
    seen = write_epochs(study, name, 9)
    tracker.sync("search")
    assert shown(client, name) == seen
    seen = write_epochs(study, name, 3)
    own.end(0, Ending("pruned", "cut at rung 3", 3, curve(0.4, 3)[-1], 3))
    (tracker if same_tracker else Tracker(study, uri)).sync(None)
    assert shown(client, name) == seen


def test_a_trial_that_ends_while_files_are_brought_from_a_bucket_is_not_closed_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, uri = searched(tmp_path, (0, 0)), f"sqlite:///{tmp_path}/mlflow.db"
    own = LossTrials(study.storage(), "infonce", study.spec.search_spaces()["infonce"])
    own.end(own.add(POINT, seed=0), Ending("complete", "used its epochs", 9, 0.9, 9))  # the best, which has files too
    name = own[own.add(point_of("infonce", 0.7, 4), seed=1)].name
    write_run(study.trials_folder / name, own.space.settings(POINT), [])
    tracker = Tracker(study, uri)

    def bring_too_early(files: FolderFiles) -> None:
        own.end(1, Ending("pruned", "cut at rung 3", 3, curve(0.4, 3)[-1], 3))

    with monkeypatch.context() as patch:
        patch.setattr(FolderFiles, "update", bring_too_early)
        tracker.sync("search")
    seen = write_epochs(study, name, 3)
    tracker.sync(None)
    assert shown(MlflowClient(uri), name) == seen
