"""What is said of a budget: between the measured ones, beside them, and of which studies at all."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from losstune.trainer.config.loss_config import LossConfig
from losstune.tuning.search import budget_worth as module
from losstune.tuning.search.budget_worth import SHARES, BudgetWorth, Shares, applies, budget_worth, doubling_pays_to
from losstune.tuning.space.reader import load_space
from tests.tuning.samples import settings_of

MADE = {2: Shares(0.6, 0.7, 0.8), 8: Shares(0.8, 0.85, 0.9)}


@pytest.mark.parametrize(
    ("budget", "at_least", "at_most"),
    [
        (2, 0.6, 0.8),
        (4, 0.7, 0.85),  # half-way, in the logarithm
        (8, 0.8, 0.9),
        (1.9, None, 0.8),
        (8.1, 0.8, None),
    ],
)
def test_budgets_between_and_beside_the_measured_ones(
    budget: float, at_least: float | None, at_most: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARES", {"gp": MADE})
    found = budget_worth("gp", budget)
    assert found.full_trainings == budget
    assert (found.at_least, found.at_most) == (at_least and pytest.approx(at_least), at_most and pytest.approx(at_most))
    assert (found.doubling_pays_to, found.doubling_measured_to) == doubling_pays_to(MADE)


@pytest.mark.parametrize(
    ("means", "pays"),
    [
        ([0.50, 0.60, 0.70, 0.705], 7),  # from 8 to 16 less than one per cent; from 7 to 14 more than three
        ([0.50, 0.505, 0.60, 0.605], 7),  # from 2 to 4 little too, but then more comes
        ([0.50, 0.60, 0.70, 0.80], 8),  # as far as it was measured
        ([0.50, 0.501, 0.502, 0.503], 0),
    ],
)
def test_doubling_pays_as_long_as_it_gains_more_than_the_noise_of_seeds(means: list[float], pays: int) -> None:
    shares = {budget: Shares(0.1, mean, 0.9) for budget, mean in zip((2, 4, 8, 16), means, strict=True)}
    assert doubling_pays_to(shares) == (pays, 8)


def test_shares_are_shares_that_grow_with_the_budget() -> None:
    for shares in SHARES.values():
        assert list(shares) == sorted(shares)
        assert all(0.5 < own.lowest < own.mean < own.highest < 1.0 for own in shares.values())
        assert [own.mean for own in shares.values()] == sorted(own.mean for own in shares.values())


@pytest.mark.parametrize(
    ("worth", "said"),
    [
        (BudgetWorth(10.04, 0.841, 0.93, 10, 10), "about 10 full trainings a loss reached 84% to 93%"),
        (BudgetWorth(1.25, None, 0.85, 10, 10), "about 1.2 full trainings a loss reached at most 85%"),
        (BudgetWorth(100, 0.93, None, 10, 10), "about 100 full trainings a loss reached at least 93%"),
    ],
)
def test_what_is_said_of_a_budget(worth: BudgetWorth, said: str) -> None:
    measured = "of the best known value (measured with infonce, 27 epochs, on five data sets)"
    assert next(worth.lines(81)) == f"A budget of {said} {measured}"


@pytest.mark.parametrize(
    ("pays", "said"),
    [
        (
            27,
            "Beyond about 27 full trainings (--epochs-per-loss 2187) twice as many gained less than the standard error "
            "of ten seeds: there confirm with more seeds rather than search more",
        ),
        (
            40,
            "Up to 40 full trainings (--epochs-per-loss 3240) at least, twice as many gained more than the standard "
            "error of ten seeds",
        ),
    ],
)
def test_where_more_seeds_tell_more_than_more_search(pays: int, said: str) -> None:
    assert list(BudgetWorth(10, 0.8, 0.9, pays, 40).lines(81))[1:] == [said]


@pytest.mark.parametrize(
    ("spaces", "given", "said"),
    [
        (["infonce", "mse"], {"sampler": "gp"}, True),
        (["infonce"], {"sampler": "random", "max_epochs": 27}, True),
        (["infonce"], {"sampler": "tpe"}, True),
        (["infonce"], {"sampler": "grid"}, False),
        (["infonce"], {"sampler": "gp", "objective": "val/cosine_sim"}, False),
        (["infonce"], {"sampler": "gp", "max_epochs": 3}, False),  # without rungs
        (["infonce"], {"sampler": "gp", "race": True}, False),
    ],
)
def test_of_which_studies_something_is_said(spaces: Iterable[str], given: dict[str, Any], said: bool) -> None:
    assert applies([load_space(name) for name in spaces], settings_of(**given)) == said


class OwnConfig(LossConfig):
    """A loss of the user's own, which nobody builds here."""


def test_nothing_is_said_of_losses_and_models_of_the_users_own() -> None:
    infonce, settings = load_space("infonce"), settings_of(sampler="gp")
    assert applies([infonce], settings)
    assert not applies([infonce, replace(infonce, loss_class=OwnConfig)], settings)
    assert not applies([infonce, replace(infonce, fixed={"model.factory": "mine:build"})], settings)
