"""Points in the unit cube: there and back, by chance, and beside others, with conditions and every kind of domain."""

import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from losstune.tuning.search.cube import Cube, key
from losstune.tuning.space.search_space import Choices, Parameter, Point, Range, SearchSpace
from tests.tuning.samples import CONDITIONAL, CONTINUOUS, DISCRETE, space_of

EVERY_KIND = """
    loss_fn: infonce
    space:
      temperature: {low: 0.01, high: 1.0, log: true}
      batch_size: {choices: [16, 32, 64]}
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 1, high: 5, int: true, when: {schedule: cosine}}
      model.depth: {low: 0, high: 3, int: true}
      model.hidden_dim: {low: 8, high: 512, int: true, log: true}
      model.dropout: {low: 0.0, high: 0.4, step: 0.1, when: {model.depth: [1, 2]}}
      average_epochs: {choices: [null, 1.0, 2.0]}
      weight_decay: {low: 0.1, high: 0.1}
"""
TEXTS = [EVERY_KIND, CONDITIONAL, CONTINUOUS, DISCRETE]


def drawn(space: SearchSpace, count: int, seed: int = 0) -> list[Point]:
    cube = Cube(space)
    return [cube.point(own) for own in cube.draw(count, np.random.default_rng(seed))]


def check(space: SearchSpace, point: Point) -> None:
    """A point has exactly the parameters that are active, each with a value of its domain."""
    before: Point = {}
    for parameter in space.parameters:
        assert (parameter.name in point) == parameter.active(before)
        if parameter.name in point:
            assert point[parameter.name] in parameter.domain, (parameter, point[parameter.name])
            before[parameter.name] = point[parameter.name]


@pytest.mark.parametrize("text", TEXTS)
@given(seed=st.integers(0, 10_000))
def test_points_by_chance_are_points_of_the_space(text: str, seed: int) -> None:
    space = space_of(text)
    for point in drawn(space, 5, seed):
        check(space, point)


@pytest.mark.parametrize("text", TEXTS)
@given(seed=st.integers(0, 10_000), width=st.floats(0.0, 2.0))
def test_points_beside_others_are_points_of_the_space(text: str, seed: int, width: float) -> None:
    space, random = space_of(text), np.random.default_rng(seed)
    cube = Cube(space)
    for places in cube.near(cube.draw(5, random), np.full(5, width), random):
        check(space, cube.point(places))


@pytest.mark.parametrize("text", TEXTS)
@given(seed=st.integers(0, 10_000))
def test_a_point_comes_back_from_its_places(text: str, seed: int) -> None:
    space = space_of(text)
    cube = Cube(space)
    for point in drawn(space, 5, seed):
        again = cube.point(cube.places([point])[0])
        assert {name: type(value) for name, value in again.items()} == {name: type(v) for name, v in point.items()}
        for name, value in point.items():
            assert again[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("choices", "value", "place"),
    [("[0.0, 0.1, 0.2]", 0, 0.0), ("[2, 3.0, 4]", 3, 0.5), ("[true, 1]", 1, 1.0), ("[true, 1]", True, 0.0)],
)
def test_a_number_of_another_kind_is_where_its_equal_is(choices: str, value: object, place: float) -> None:
    """A study of before wrote the choices down anew when a file had 0.0 for 0."""
    space = space_of(CONTINUOUS)
    domain = Choices(tuple(yaml.safe_load(choices)))
    cube = Cube(replace(space, parameters=(replace(space.parameters[0], domain=domain),)))
    assert cube.places([{space.parameters[0].name: value}]) == [[place]]


def test_beside_a_point_with_no_width_is_the_point() -> None:
    space, random = space_of(EVERY_KIND), np.random.default_rng(0)
    cube = Cube(space)
    places = cube.draw(20, random)
    assert cube.near(places, np.zeros(20), random) == pytest.approx(places, nan_ok=True)


def test_the_wider_the_farther() -> None:
    cube, random = Cube(space_of(CONTINUOUS)), np.random.default_rng(0)
    middle = np.full((500, 2), 0.5)
    narrow, wide = (np.abs(cube.near(middle, np.full(500, width), random) - 0.5).mean() for width in (0.02, 0.2))
    assert narrow == pytest.approx(0.02 * math.sqrt(2 / math.pi), rel=0.1)
    assert wide == pytest.approx(0.2 * math.sqrt(2 / math.pi), rel=0.1)


def test_rows_by_hand() -> None:
    space = space_of(EVERY_KIND)
    cube = Cube(space)
    point = {
        **{"temperature": 0.1, "batch_size": 32, "schedule": "constant", "model.depth": 3, "model.hidden_dim": 64},
        **{"average_epochs": 1.0, "weight_decay": 0.1},
    }
    (row,) = cube.rows(cube.places([point]))
    #                                  inactive                    inactive  none 1 2
    assert row == pytest.approx([0.5, 0.5, 0.0, 0.5, 1.0, 0.5, 0.5, 0.0, 1.0, 0.0, 0.0])


def test_each_value_of_a_counted_domain_is_as_likely() -> None:
    points = drawn(space_of(EVERY_KIND), 6000)
    for name, count in (("model.depth", 4), ("batch_size", 3), ("average_epochs", 3)):
        _, counts = np.unique([str(point[name]) for point in points], return_counts=True)
        assert counts / 6000 == pytest.approx(np.full(count, 1 / count), abs=0.03)


def test_ranges_of_orders_of_magnitude_are_drawn_evenly_in_them() -> None:
    low = [point["temperature"] < 0.1 for point in drawn(space_of(EVERY_KIND), 2000)]
    assert np.mean(low) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("log", [True, False])
def test_ranges_as_wide_as_numbers_are(log: bool) -> None:
    wide = Parameter("lr", Range(1e-300 if log else -1.7e308, 1.7e308, log=log))
    cube = Cube(replace(space_of(CONTINUOUS), parameters=(wide,)))
    for place in (0.0, 0.25, 0.5, 1.0):
        point = cube.point(np.array([place]))
        assert point["lr"] in wide.domain
        assert cube.places([point]) == pytest.approx(place)


def test_a_space_without_parameters_has_one_point() -> None:
    cube, random = Cube(replace(space_of(CONTINUOUS), parameters=())), np.random.default_rng(0)
    places = cube.near(cube.draw(3, random), np.full(3, 0.1), random)
    assert [cube.point(own) for own in places] == [{}, {}, {}]
    assert cube.rows(places).shape == (3, 0)


def test_a_key_knows_no_order() -> None:
    assert key({"a": 1, "b": "x"}) == key({"b": "x", "a": 1}) != key({"a": 2, "b": "x"})
