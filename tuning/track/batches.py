"""What a run has to show, in the batches that MLflow takes."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict, TypeVar

from mlflow.entities import Metric, Param, RunTag

from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.run.history import SYSTEM, Record, read_history
from losstune.tuning.track.mlflow_store import millis
from losstune.tuning.track.runs import MetricPoint, RunPicture

METRICS_PER_BATCH = 800
"""MLflow takes 1,000 of all kinds together, 100 of them parameters and 100 tags."""
PARAMS_PER_BATCH = 100
EPOCH_METRIC = "train/lr"
"""An epoch's learning rate, which every epoch has: epochs are counted by it. The parameter is ``lr``."""
_T = TypeVar("_T")
_REFUSED = re.compile(r"[^\w /.:-]")


class Batch(TypedDict):
    """One call of ``log_batch``, which writes the tags last."""

    metrics: list[Metric]
    params: list[Param]
    tags: list[RunTag]


def batches(points: Sequence[MetricPoint], params: Mapping[str, str], tags: Mapping[str, str]) -> Iterator[Batch]:
    """All of it in as few calls as there can be, the tags in the last one; none where there is nothing to write.

    Args:
        tags: at most 100.
    """
    metrics = _parts([metric_of(point) for point in points], METRICS_PER_BATCH)
    some_params = _parts([Param(name, value) for name, value in params.items()], PARAMS_PER_BATCH)
    count = max(len(metrics), len(some_params), int(bool(tags)))
    for index in range(count):
        last = [RunTag(name, value) for name, value in tags.items()] if index == count - 1 else []
        yield Batch(
            metrics=metrics[index] if index < len(metrics) else [],
            params=some_params[index] if index < len(some_params) else [],
            tags=last,
        )


def metric_of(point: MetricPoint, model_id: str | None = None) -> Metric:
    """As MLflow has it; of a model too, where one is named."""
    return Metric(point.metric, point.value, millis(point.time), point.step, model_id=model_id)


def epoch_points(records: Sequence[Record]) -> Iterator[MetricPoint]:
    """Epochs' metrics; a name of before such names were refused, as ``acc@0.5``, is ``acc_0.5``.

    What begins with ``system/`` MLflow's UI shows apart, under *System metrics*.
    """
    for record in records:
        named = {EPOCH_METRIC: record["lr"]} if "lr" in record else {}
        named |= {_REFUSED.sub("_", name): value for name, value in record.items() if "/" in name}
        for name, value in named.items():
            yield MetricPoint(name, value, int(record["epoch"]), record["time"])


def content_of(picture: RunPicture) -> str:
    """Changes whenever a closed run has to be written again."""
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in picture.artifacts]
    told = (picture.status, sorted(picture.tags.items()), picture.points, files)
    return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()


def params_of(picture: RunPicture) -> dict[str, str]:
    """A run's parameters, as far as they are known: those of a trial once its config is there."""
    settings = read_run_settings(picture.config) if picture.config is not None and picture.config.exists() else {}
    return {**picture.params, **{name: str(value) for name, value in settings.items()}}


def points_of_model(picture: RunPicture) -> list[MetricPoint]:
    """What is true of a closed run's checkpoint: the metrics of its best epoch, and those of the run as a whole."""
    records = read_history(picture.history) if picture.history is not None else []
    best = {point.step for point in picture.points}
    of_best = epoch_points([record for record in records if record["epoch"] in best])
    return [*(point for point in of_best if not point.metric.startswith(SYSTEM)), *picture.points]


def _parts(items: Sequence[_T], size: int) -> list[list[_T]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
