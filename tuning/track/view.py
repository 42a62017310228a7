"""What MLflow's UI shows of a study without being asked: its page for runs, which columns and charts, in which order.

The UI reads all of this from an experiment's tags. None of it is in MLflow's documentation; a browser tests it.
"""

import json

from losstune.tuning.study.study import Study
from losstune.tuning.track.runs import BEST, REASON_TAG, STATE_TAG, WINNER, ranked_by

VIEW = "losstune"
"""Name of the view: ``?viewStateShareKey=losstune`` after the address of an experiment's runs."""
TRAINING = "workflowType=machine_learning"
"""In an address, MLflow's pages for training: else its first one in a browser has those for language models beside."""
_PARAMS = ("loss_fn", "lr", "batch_size")


def view_tags(study: Study) -> dict[str, str]:
    """Tags of the study's experiment: all runs in one list, the best trial first; the objective's curves first."""
    best = ranked_by(study, BEST)
    columns = [
        *(f"metrics.`{name}`" for name in (best, ranked_by(study, WINNER))),
        *(f"params.`{name}`" for name in _PARAMS),
        *(f"tags.`{name}`" for name in (STATE_TAG, REASON_TAG)),
    ]
    view = {"orderByKey": columns[0], "orderByAsc": False, "selectedColumns": columns} | _charts(study)
    return {
        "mlflow.experiment.primaryMetric.name": best,
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }


def _charts(study: Study) -> dict[str, object]:
    """The objective's curves first, the other ones of ``val`` beside: MLflow would begin with what has no curve."""
    objective = study.spec.settings.objective
    section = {"uuid": "val", "name": "val", "display": True, "isReordered": True}
    curves = {
        "type": "LINE",
        "uuid": "objective",
        "metricSectionId": section["uuid"],
        "metricKey": objective,
        "selectedMetricKeys": [objective],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
    }
    return {"compareRunSections": [section], "compareRunCharts": [curves], "isAccordionReordered": True}
