"""Names of metrics are those that the metrics really have."""

import torch

from losstune.trainer.score.geometry import geometry
from losstune.trainer.score.metrics import embedding_metrics
from losstune.trainer.score.names import GEOMETRY, METRICS, own_parts


def test_every_metric_that_is_computed_has_its_name_here_and_no_other_has() -> None:
    rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    signs = geometry(rows, rows, rows)
    assert tuple(signs) == GEOMETRY
    assert {"loss", *embedding_metrics(rows, rows, rows, torch.arange(6)), *signs} == METRICS


def test_what_else_a_split_records_is_the_losss_own() -> None:
    assert own_parts({"loss": 0.5, "infonce_acc": 0.25, "mrr": 0.1, "hubness": 1.0}) == {"infonce_acc": 0.25}
