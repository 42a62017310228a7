"""Search spaces as values: domains, conditions, points, settings."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.config.train_config import TrainConfig
from losstune.tuning.space.search_space import MAX_GRID, Choices, Domain, Parameter, Range
from tests.tuning.samples import CONDITIONAL, DISCRETE, space_of

lows = st.floats(-1e3, 1e3, allow_subnormal=False)
widths = st.floats(0, 1e3, allow_subnormal=False)
decimals = st.integers(-2000, 2000).map(lambda n: n / 1000)


@st.composite
def float_ranges(draw: st.DrawFn) -> Range:
    low = draw(lows)
    return Range(low, low + draw(widths))


@st.composite
def log_ranges(draw: st.DrawFn) -> Range:
    low = draw(st.floats(1e-8, 10))
    return Range(low, low * draw(st.floats(1, 1e4)), log=True)


@st.composite
def stepped_ranges(draw: st.DrawFn) -> Range:
    """Decimals as people write them; the high may lie between two steps."""
    low, width, step = draw(st.integers(-2000, 2000)), draw(st.integers(0, 4000)), draw(st.integers(50, 5000))
    return Range(low / 1000, (low + width) / 1000, step=step / 1000)


@st.composite
def int_ranges(draw: st.DrawFn) -> Range:
    low, width = draw(st.integers(-50, 50)), draw(st.integers(0, 60))
    return Range(low, low + width, integer=True, step=draw(st.sampled_from([None, 1, 2, 7])))


@st.composite
def int_log_ranges(draw: st.DrawFn) -> Range:
    low = draw(st.integers(1, 50))
    return Range(low, low + draw(st.integers(0, 60)), integer=True, log=True)


continua = st.one_of(float_ranges(), log_ranges())
int_domains = st.one_of(int_ranges(), int_log_ranges())
discrete = st.one_of(stepped_ranges(), int_domains)
probes = st.one_of(st.integers(-60, 120), decimals)


@given(st.one_of(continua, int_domains))
def test_a_range_ends_with_its_low_and_its_high(domain: Range) -> None:
    below, above = math.nextafter(domain.low, -math.inf), math.nextafter(domain.high, math.inf)
    assert domain.low in domain
    assert below not in domain
    assert above not in domain
    assert domain.step is not None or domain.high in domain


@given(continua)
def test_a_continuum_has_no_list_of_values(domain: Range) -> None:
    assert domain.values == (None if domain.low < domain.high else (domain.low,))


@given(discrete)
def test_listed_values_are_all_there_are_from_low_to_high(domain: Range) -> None:
    values = domain.values
    assert values is not None
    assert values[0] == domain.low
    assert all(value in domain for value in values)
    step = domain.step or 1
    assert all(b - a == pytest.approx(step) for a, b in itertools.pairwise(values))
    assert values[-1] + step > domain.high + step * 1e-6


@given(stepped_ranges())
def test_stepped_values_are_the_decimals_that_people_write(domain: Range) -> None:
    values = domain.values
    assert values is not None
    assert all(value == round(value, 3) for value in values)


@given(discrete, probes)
def test_only_listed_values_are_in_a_discrete_range(domain: Range, probe: float) -> None:
    values = domain.values
    assert values is not None
    assert (probe in domain) == any(abs(probe - value) < 1e-9 for value in values)


@pytest.mark.parametrize("value", [True, False, "1", None, math.nan, math.inf, [1]])
def test_a_range_has_numbers_only(value: object) -> None:
    assert value not in Range(-1, 1)
    assert value not in Range(-1, 1, integer=True)


def test_whole_numbers_only_in_an_int_range() -> None:
    domain = Range(0, 3, integer=True)
    assert 2 in domain
    assert 2.0 in domain
    assert 2.5 not in domain
    assert domain.values == (0, 1, 2, 3)
    assert all(type(value) is int for value in domain.values)


def test_a_choice_is_of_the_type_that_the_file_gave() -> None:
    assert True not in Choices((1, 2))
    assert 1 not in Choices((False, True))
    assert 1.0 not in Choices((1, 2))


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Range(0.01, 1.0), "0.01 … 1"),
        (Range(0.01, 1.0, log=True), "0.01 … 1, log"),
        (Range(0, 5, integer=True), "whole numbers 0 … 5"),
        (Range(0.1, 0.5, step=0.1), "0.1 … 0.5, step 0.1"),
        (Choices((16, None, "cosine")), "16 | None | cosine"),
    ],
)
def test_domains_in_words(domain: Domain, text: str) -> None:
    assert str(domain) == text


def test_a_conditional_parameter_needs_all_its_conditions() -> None:
    parameter = Parameter("lr", Range(0, 1), {"schedule": ("cosine",), "model.depth": (1, 2)})
    assert parameter.active({"schedule": "cosine", "model.depth": 2})
    assert not parameter.active({"schedule": "cosine", "model.depth": 3})
    assert not parameter.active({"schedule": "constant", "model.depth": 2})
    assert not parameter.active({"schedule": "cosine"})


def test_a_parent_that_does_not_exist_is_not_the_value_null() -> None:
    parameter = Parameter("lr", Range(0, 1), {"clip_norm": (None,)})
    assert parameter.active({"clip_norm": None})
    assert not parameter.active({})


def test_points_of_a_discrete_space_in_the_order_of_the_file() -> None:
    space = space_of("""
        loss_fn: mse
        space:
          batch_size: {choices: [32, 16]}
          schedule: {choices: [constant, cosine]}
          warmup_epochs: {low: 1, high: 5, int: true, step: 2, when: {schedule: cosine}}
    """)
    points = [tuple(point.values()) for point in space.points()]
    assert points == [
        (32, "constant"), (32, "cosine", 1), (32, "cosine", 3), (32, "cosine", 5),
        (16, "constant"), (16, "cosine", 1), (16, "cosine", 3), (16, "cosine", 5),
    ]  # fmt: skip
    assert space.size == 8


def test_a_continuum_anywhere_leaves_no_size() -> None:
    assert space_of(CONDITIONAL).size is None


def test_counting_ends_behind_the_largest_grid() -> None:
    space = space_of("""
        loss_fn: mse
        space:
          batch_size: {low: 16, high: 5000, int: true}
          warmup_epochs: {low: 0, high: 5000, int: true}
    """)
    assert space.size == MAX_GRID + 1


def test_a_space_without_parameters_has_one_empty_point() -> None:
    space = space_of("loss_fn: mse")
    assert list(space.points()) == [{}]
    assert space.size == 1


def test_settings_are_loss_fixed_chosen_and_derived_values() -> None:
    space = space_of("""
        loss_fn: cosine_mse
        space:
          cosine_weight: {low: 0.0, high: 1.0}
        derived:
          mse_weight: 1 - cosine_weight
          batch_size: warmup_epochs * 4 / 2
        fixed: {warmup_epochs: 8, model: {depth: 0}}
    """)
    settings = space.settings({"cosine_weight": 0.75})
    assert settings == {
        "loss_fn": "cosine_mse", "cosine_weight": 0.75, "mse_weight": 0.25,
        "warmup_epochs": 8, "model.depth": 0, "batch_size": 16,
    }  # fmt: skip
    assert type(settings["batch_size"]) is int
    assert space.train_config({"cosine_weight": 0.75}, seed=3) == TrainConfig.from_flat({**settings, "seed": 3})


def test_reads_of_equal_files_are_equal() -> None:
    assert space_of(DISCRETE) == space_of(DISCRETE)
    assert space_of(DISCRETE) != space_of(DISCRETE.replace("0.4", "0.5"))
