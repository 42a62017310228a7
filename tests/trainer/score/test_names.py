"""Names of metrics are those that the metrics really have."""

import pytest
import torch

from losstune.trainer.score.geometry import geometry
from losstune.trainer.score.metrics import embedding_metrics
from losstune.trainer.score.names import GEOMETRY, METRICS, at_dims, can_be_a_name, own_parts


def test_every_metric_that_is_computed_has_its_name_here_and_no_other_has() -> None:
    rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    signs = geometry(rows, rows, rows)
    assert tuple(signs) == GEOMETRY
    assert {"loss", *embedding_metrics(rows, rows, rows, torch.arange(6)), *signs} == METRICS


def test_what_else_a_split_records_is_the_losss_own() -> None:
    assert own_parts({"loss": 0.5, "infonce_acc": 0.25, "mrr": 0.1, "hubness": 1.0}) == {"infonce_acc": 0.25}


def test_what_is_of_a_prefix_is_not_of_the_whole_and_can_be_shown() -> None:
    assert own_parts({at_dims(64, "loss"): 0.5, "dim_a/loss": 0.25, "dim": 0.1}) == {"dim_a/loss": 0.25, "dim": 0.1}
    assert can_be_a_name(at_dims(64, "recall_at_1"))


@pytest.mark.parametrize("name", ["infonce_acc", "share in all", "top-1: hits", "head/1.5", "größe", "x" * 200])
def test_what_can_be_a_name(name: str) -> None:
    assert can_be_a_name(name)


@pytest.mark.parametrize(
    "name", ["", "acc@0.5", "share %", "a//b", "/a", "a/", "a/./b", "..", "a\n", "x" * 201, 3, None]
)
def test_what_can_not_be_a_name(name: object) -> None:
    assert not can_be_a_name(name)
