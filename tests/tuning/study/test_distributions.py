"""Optuna has exactly the values of a search space."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.trial import create_trial

from losstune.trainer.losses.mse import MseConfig
from losstune.tuning.space.search_space import Choices, Domain, Parameter, Range, SearchSpace
from losstune.tuning.study.distributions import distributions
from tests.tuning.space.test_search_space import continua, discrete, probes


def distribution_of(domain: Domain) -> BaseDistribution:
    space = SearchSpace("", MseConfig, (Parameter("lr", domain),), (), {}, {}, {}, {})
    return distributions(space)["lr"]


def optuna_holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        create_trial(value=0.0, params={"lr": value}, distributions={"lr": distribution})
    except ValueError:
        return False
    return True


@given(st.one_of(continua, discrete), probes)
def test_optuna_has_exactly_the_values_of_a_range(domain: Range, probe: float) -> None:
    distribution = distribution_of(domain)
    for value in (probe, domain.low, domain.high, *(domain.values or ())):
        assert optuna_holds(distribution, value) == (value in domain), value


@pytest.mark.parametrize("choices", [(16, 32), (0.1, 1.0), ("constant", "cosine"), (False, True), (None, 1.0)])
def test_optuna_has_exactly_the_choices(choices: tuple[Any, ...]) -> None:
    domain = Choices(choices)
    distribution = distribution_of(domain)
    for value in (*choices, "linear", 7, 2.5):
        assert (value in domain) == (value in choices)
        assert optuna_holds(distribution, value) == (value in choices)
