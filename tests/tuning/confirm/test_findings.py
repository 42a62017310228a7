"""What a confirmation says, as plain values that a program can keep."""

import pytest
import torch

from losstune.trainer.score.metrics import row_scores
from losstune.tuning.confirm.findings import TEST_METRICS, Comparison
from tests.tuning.confirm.test_sentences import comparison, pair, row


@pytest.mark.parametrize(("seeds", "enough"), [(2, False), (9, False), (10, True)])
def test_claims_take_ten_seeds(seeds: int, enough: bool) -> None:
    assert comparison(seeds=seeds).enough_seeds is enough


def test_the_pick_of_a_loss_is_not_its_start() -> None:
    found = comparison(rows=[row("mse-start", "start"), row("mse-0002"), row("infonce-0007")])
    assert found.pick("mse").name == "mse-0002"


def test_all_of_it_comes_back_from_json() -> None:
    found = comparison(pairs=[pair()], ridge=row("ridge", "baseline"), over_ridge=pair().difference)
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_what_is_compared_is_what_a_row_of_the_test_split_is_scored_by() -> None:
    rows = torch.eye(3)
    assert set(TEST_METRICS) <= set(row_scores(rows, rows, rows, torch.arange(3)))
