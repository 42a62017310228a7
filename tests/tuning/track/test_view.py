"""What MLflow's UI reads of a view; that it shows it, a browser tests: ``tests/integration/test_mlflow_ui.py``."""

import json
from dataclasses import replace
from pathlib import Path

from losstune.tuning.track.view import view_tags
from tests.tuning.reported import searched


def test_the_view_is_ranked_by_the_studys_own_objective(tmp_path: Path) -> None:
    study = searched(tmp_path, (0, 0))
    settings = study.spec.settings.model_copy(update={"objective": "val/cosine_sim"})
    tags = view_tags(replace(study, spec=study.spec.model_copy(update={"settings": settings})))
    assert tags["mlflow.experiment.primaryMetric.name"] == "best/cosine_sim"
    view = json.loads(tags["mlflow.sharedViewState.losstune"])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`best/cosine_sim`", False)
    assert view["selectedColumns"][:3] == [
        "metrics.`best/cosine_sim`",
        "metrics.`winner/cosine_sim`",
        "params.`loss_fn`",
    ]
    assert [chart["metricKey"] for chart in view["compareRunCharts"]] == ["val/cosine_sim"]
    assert view_tags(study)["mlflow.experiment.primaryMetric.name"] == "best/mrr"
