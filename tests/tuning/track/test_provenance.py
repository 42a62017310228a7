"""Where a run comes from: what MLflow's own columns read, from the truth, also of a study that went on with others."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.tuning.study.study import Study
from losstune.tuning.track.mlflow_sync import Tracker
from losstune.tuning.track.provenance import dataset_inputs, source_tags, versions_at
from losstune.tuning.track.runs import RUN_TAG
from tests.tuning.reported import confirmed, searched


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Its commit, versions and data are made up."""
    made = searched(tmp_path, (3, 1), data="mine/pairs.npz")
    versions = {"losstune": "0.3.0", "torch": "2.14.0", "polars": "1.0"}
    changes = [
        {"at": "2026-02-01T00:00:00Z", "torch": "2.12.0 in the study, 2.13.0 now"},
        {
            "at": "2026-03-01T00:00:00Z",
            "torch": "2.13.0 in the study, 2.14.0 now",
            "losstune": "0.2.0 in the study, 0.3.0 now",
            "polars": "none in the study, 1.0 now",
        },
    ]
    content = {"versions": versions, "changes": changes, "git_commit": "c" * 40, "data_digest": "ab" * 32}
    return replace(made, spec=made.spec.model_copy(update=content))


@pytest.mark.parametrize(
    ("day", "versions"),
    [
        ("2026-01-15", {"losstune": "0.2.0", "torch": "2.12.0"}),
        ("2026-02-15", {"losstune": "0.2.0", "torch": "2.13.0"}),
        ("2026-03-15", {"losstune": "0.3.0", "torch": "2.14.0", "polars": "1.0"}),
    ],
)
def test_the_versions_are_those_that_a_run_began_with(study: Study, day: str, versions: dict[str, str]) -> None:
    time = datetime.fromisoformat(f"{day}T12:00:00Z").timestamp()
    assert versions_at(study.spec, time) == versions
    told = {name: value for name, value in source_tags(study, time).items() if name.startswith("losstune.version.")}
    assert told == {f"losstune.version.{name}": number for name, number in versions.items()}


def test_without_a_repository_there_is_no_commit(study: Study) -> None:
    without = replace(study, spec=study.spec.model_copy(update={"git_commit": None}))
    assert "mlflow.source.git.commit" not in source_tags(without, 0.0)


def test_every_run_in_mlflow_says_who_on_which_code_and_data(study: Study, tmp_path: Path) -> None:
    confirmed(study, top=1, seeds=2)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = Tracker(study, uri)
    tracker.sync("confirm")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study").experiment_id
    found = client.search_runs([experiment])
    assert {"infonce", "infonce-0001", "confirm", "infonce-0000/seed-00"} <= {r.data.tags[RUN_TAG] for r in found}
    for run in found:
        assert run.info.user_id == tmp_path.owner()
        tags = run.data.tags
        assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("losstune: study study", "LOCAL")
        assert tags["mlflow.source.git.commit"] == "c" * 40
        inputs = {i.tags[0].value: (i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs}
        assert inputs == {
            "training": ("pairs.npz (train)", "ab" * 16), "validation": ("pairs.npz (val)", "ab" * 16)
        }  # fmt: skip
    assert client.search_runs([experiment], "dataset.digest = '" + "ab" * 16 + "'", max_results=1)
    assert dataset_inputs(study)[0].dataset.source == '{"uri": "mine/pairs.npz"}'
