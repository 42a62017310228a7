"""What MLflow's UI shows of a study without being asked: its page for runs, which columns, in which order.

The UI reads all of this from an experiment's tags. None of it is in MLflow's documentation; a browser tests it.
"""

import json

from losstune.tuning.study.study import Study
from losstune.tuning.track.runs import BEST, REASON_TAG, STATE_TAG, WINNER, ranked_by

VIEW = "losstune"
"""Name of the view: ``?viewStateShareKey=losstune`` after the address of an experiment's runs."""
_PARAMS = ("loss_fn", "lr", "batch_size")


def view_tags(study: Study) -> dict[str, str]:
    """Tags of the study's experiment: all runs in one list, the best trial of all losses first."""
    best = ranked_by(study, BEST)
    columns = [
        *(f"metrics.`{name}`" for name in (best, ranked_by(study, WINNER))),
        *(f"params.`{name}`" for name in _PARAMS),
        *(f"tags.`{name}`" for name in (STATE_TAG, REASON_TAG)),
    ]
    view = {"orderByKey": columns[0], "orderByAsc": False, "selectedColumns": columns}
    return {
        "mlflow.experiment.primaryMetric.name": best,
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }
