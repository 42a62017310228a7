"""What is logged of a run: MLflow's own limits are kept, nothing is left out, tags come last."""

from pathlib import Path

import pytest
from mlflow.utils.validation import _validate_batch_log_data, _validate_batch_log_limits

from losstune.trainer.run.history import history_line
from losstune.tuning.track.batches import batches, epoch_points, points_of_model
from losstune.tuning.track.runs import MetricPoint, RunPicture


@pytest.mark.parametrize(
    ("metrics", "params", "calls"),
    [(0, 0, 1), (3, 0, 1), (0, 5, 1), (800, 100, 1), (801, 1, 2), (9, 201, 3), (2400, 150, 3)],
)
def test_all_of_it_in_the_fewest_calls_that_mlflow_takes(metrics: int, params: int, calls: int) -> None:
    points = [MetricPoint("val/mrr", 0.5, step, float(step)) for step in range(metrics)]
    settings = {f"name_{number}": str(number) for number in range(params)}
    made = list(batches(points, settings, {"state": "complete"}))
    assert len(made) == calls
    for batch in made:
        _validate_batch_log_limits(*_validate_batch_log_data(**batch))
    assert [metric.step for batch in made for metric in batch["metrics"]] == list(range(metrics))
    assert {param.key: param.value for batch in made for param in batch["params"]} == settings
    assert [[tag.key for tag in batch["tags"]] for batch in made] == [[]] * (calls - 1) + [["state"]]


def test_nothing_to_write_is_no_call() -> None:
    assert list(batches([], {}, {})) == []


def test_the_learning_rate_of_an_epoch_is_no_namesake_of_the_parameter() -> None:
    record = {"epoch": 2, "time": 7.0, "seconds": 0.1, "lr": 0.01, "train/loss": 1.0, "val/acc@5": 0.5}
    found = list(epoch_points([record, {"epoch": 3, "time": 8.0, "seconds": 0.1, "val/mrr": 0.4}]))
    assert [(p.metric, p.value, p.step, p.time) for p in found] == [
        ("train/lr", 0.01, 2, 7.0), ("train/loss", 1.0, 2, 7.0), ("val/acc_5", 0.5, 2, 7.0), ("val/mrr", 0.4, 3, 8.0)
    ]  # fmt: skip


def test_what_an_epoch_took_is_shown_of_a_run_and_not_of_its_model(tmp_path: Path) -> None:
    taken = "system/cpu_utilization_percentage"
    records = [{"epoch": e, "time": 7.0, "seconds": 0.1, "val/mrr": 0.1 * e, taken: 99.0} for e in (1, 2)]
    (tmp_path / "history.jsonl").write_text("".join(map(history_line, records)))
    best = MetricPoint("best/mrr", 0.2, 2, 7.0)
    picture = RunPicture("infonce-0000", "infonce", "FINISHED", 0.0, history=tmp_path / "history.jsonl", points=(best,))
    assert [(p.metric, p.step) for p in epoch_points(records) if p.metric == taken] == [(taken, 1), (taken, 2)]
    assert points_of_model(picture) == [MetricPoint("val/mrr", 0.2, 2, 7.0), best]
