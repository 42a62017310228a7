"""What MLflow has of a study's runs, as far as a tracker knows: what it wrote itself, and what it found there."""

from dataclasses import dataclass

from mlflow.entities import LifecycleStage, Run
from mlflow.tracking import MlflowClient

from losstune.tuning.track.batches import EPOCH_METRIC
from losstune.tuning.track.experiment import runs_of
from losstune.tuning.track.runs import RUN_TAG

CONTENT_TAG = "losstune.content"
EPOCHS_TAG = "losstune.epochs"
PARENT_TAG = "mlflow.parentRunId"
REPLACED_TAG = "losstune.replaced"
"""On runs that the tracker has deleted itself; what else is in MLflow's trash of a study is restored."""
_FORMER_EPOCH_METRIC = "lr"
"""What epochs were counted by when it was a parameter and a metric alike; a run of then that goes on still is."""


@dataclass
class Logged:
    """What MLflow is known to have of a run.

    Attributes:
        parent: the run that it is shown under.
        epochs: that it has for certain.
        reached: the highest epoch that it may have.
        content: that of the closed run, None while it is open.
        note: the description that it has or that its user has replaced.
    """

    run_id: str
    parent: str | None = None
    epochs: int = 0
    reached: int = 0
    params: bool = False
    content: str | None = None
    note: str = ""


class LoggedRuns:
    """The runs of one experiment, by the names that a study has for them."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        """Read which there are, in MLflow's trash too; of two of one name, as the first answer never came, keep one."""
        self.by_key: dict[str, Logged] = {}
        self._client = client
        self._trash: dict[str, Run] = {}
        runs = list(runs_of(client, experiment_id))
        parents = {run.data.tags.get(PARENT_TAG) for run in runs}
        for run in sorted(runs, key=lambda run: run.info.run_id not in parents):  # the one that has children
            if (key := run.data.tags.get(RUN_TAG)) is None:
                continue  # a run of the user's own
            deleted = run.info.lifecycle_stage == LifecycleStage.DELETED
            replaced = REPLACED_TAG in run.data.tags
            if deleted and not replaced:
                self._trash.setdefault(key, run)
            elif not deleted and (replaced or key in self.by_key):  # restored with its experiment, or made twice
                self.delete(run.info.run_id)
            elif not deleted:
                self.by_key[key] = self._taken_in(run)

    def is_new(self, key: str) -> bool:
        """Whether MLflow has no run of this name, in its trash neither."""
        return key not in self.by_key and key not in self._trash

    def restored(self, key: str) -> Logged | None:
        """The run as its user has deleted it, with the user's notes and tags; None where it is not in the trash."""
        run = self._trash.pop(key, None)
        if run is None:
            return None
        self._client.restore_run(run.info.run_id)
        self.by_key[key] = self._taken_in(run)
        return self.by_key[key]

    def delete(self, run_id: str) -> None:
        """Delete a run in such a way that no tracker restores it."""
        self._client.set_tag(run_id, REPLACED_TAG, "true")
        self._client.delete_run(run_id)

    def _taken_in(self, run: Run) -> Logged:
        """A run that an earlier tracker has made; one that it did not close may have less than its last epoch tells."""
        tags, run_id = run.data.tags, run.info.run_id
        content = tags.get(CONTENT_TAG) if run.info.status != "RUNNING" else None
        known = Logged(run_id, tags.get(PARENT_TAG), params=bool(run.data.params), content=content)
        if content is not None:
            known.epochs = known.reached = int(tags.get(EPOCHS_TAG, 0))
        else:
            counted = [name for name in (EPOCH_METRIC, _FORMER_EPOCH_METRIC) if name in run.data.metrics]
            steps = [point.step for name in counted for point in self._client.get_metric_history(run_id, name)]
            known.reached = max(steps, default=0)
        return known
