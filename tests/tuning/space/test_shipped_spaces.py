"""The spaces that come with the product: valid to every edge, and true to the guide."""

import shlex
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from losstune.trainer.config.loss_registry import loss_names
from losstune.trainer.config.train_config import TrainConfig
from losstune.tuning.space.feasibility import check_grid, load_spaces
from losstune.tuning.space.merged import merged_settings
from losstune.tuning.space.reader import load_space, shipped_names
from losstune.tuning.space.search_space import Parameter, Point, SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.home import Home

PLAIN = {"batch_size": 16, "lr": 1e-3}
RECOMMENDED: dict[str, list[Point]] = {
    "mse": [PLAIN],
    "cosine": [PLAIN],
    "cosine_mse": [{**PLAIN, "cosine_weight": alpha, "mse_weight": beta} for alpha, beta in
                   ((0.7, 0.3), (0.8, 0.2), (0.5, 0.5))],
    "infonce": [{"batch_size": 32, "lr": 5e-4, "temperature": 0.07}],
}  # fmt: skip
"""The guide's recommended starts; for cosine_mse its three mixtures, the balanced one first."""

TEMPLATE = [f"guide_template_{loss}" for loss in ("mse", "cosine", "cosine_mse", "infonce")]

every_space = pytest.mark.parametrize("name", shipped_names())


def command_of(name: str) -> list[str]:
    """The words of the command in a space's first line."""
    first = (resources.files("losstune.search_spaces") / f"{name}.yaml").read_text("utf-8").splitlines()[0]
    assert first.startswith("# losstune launch ")
    return shlex.split(first.removeprefix("# losstune launch "))


def point_with(space: SearchSpace, wanted: Parameter, value: Any, edge: int) -> Point:
    """A point in which a parameter has a value, its conditions hold, and the rest is at its first or last edge."""
    point: Point = {}
    for parameter in space.parameters:
        if parameter is wanted:
            point[parameter.name] = value
        elif parameter.active(point):
            point[parameter.name] = wanted.when.get(parameter.name, parameter.domain.extremes)[edge]
    assert wanted.active(point)
    return point


def edges(space: SearchSpace) -> Iterator[tuple[str, Any, Point]]:
    for parameter in space.parameters:
        for value in parameter.domain.extremes:
            for edge in (0, -1):
                yield parameter.name, value, point_with(space, parameter, value, edge)


def test_every_loss_has_a_space() -> None:
    assert {load_space(loss).loss_fn for loss in loss_names()} == set(loss_names())


@every_space
def test_loads_and_its_settings_hold_together(name: str) -> None:
    space = load_space(name)
    settings = merged_settings([space], {})
    if settings.sampler == "grid":
        check_grid(space)


@every_space
def test_every_edge_is_a_valid_training_config(name: str) -> None:
    space = load_space(name)
    for parameter, value, point in edges(space):
        config = space.train_config(point)
        assert config.flat()[parameter] == value
        assert all(config.flat()[other] == chosen for other, chosen in point.items())


@every_space
def test_every_start_is_a_valid_training_config(name: str) -> None:
    space = load_space(name)
    for point in space.start:
        assert isinstance(space.train_config(point), TrainConfig)


@every_space
def test_its_first_line_is_the_command_that_runs_it(name: str, tmp_path: Path) -> None:
    words = command_of(name)
    names = words[: words.index("--data")]
    assert name in names
    assert merged_settings(load_spaces(names), {})
    rest = words[len(names) :]
    assert rest[:3] == ["--data", "digits", "--study"]
    assert len(rest) == 4
    Home(tmp_path).folder(rest[3])


def test_no_two_commands_mean_the_same_study() -> None:
    studies: dict[str, set[tuple[str, ...]]] = {}
    for name in shipped_names():
        words = command_of(name)
        studies.setdefault(words[-1], set()).add(tuple(words))
    assert all(len(commands) == 1 for commands in studies.values())


@pytest.mark.parametrize("loss", RECOMMENDED)
def test_the_space_of_a_loss_starts_where_the_guide_does(loss: str) -> None:
    space = load_space(loss)
    assert len(space.start) == len(RECOMMENDED[loss])
    for point, recommended in zip(space.start, RECOMMENDED[loss], strict=True):
        found = space.train_config(point).flat()
        assert {name: found[name] for name in recommended} == pytest.approx(recommended)
        default = TrainConfig.from_flat({"loss_fn": loss}).flat()
        assert all(found[name] == default[name] for name in found if name not in recommended)


@pytest.mark.parametrize("name", [n for n in shipped_names() if n.startswith("guide_")])
def test_a_stage_of_the_guide_has_its_recommended_start_among_its_points(name: str) -> None:
    space = load_space(name)
    assert RECOMMENDED[space.loss_fn][0] in list(space.points())
    assert space.start in ((), (RECOMMENDED[space.loss_fn][0],))


def stage(*names: str) -> tuple[list[str], StudySettings]:
    spaces = load_spaces(list(names))
    return [space.loss_fn for space in spaces], merged_settings(spaces, {})


def test_stage_1_is_mse_against_cosine_for_100_epochs() -> None:
    losses, settings = stage("guide_1_mse", "guide_1_cosine")
    assert losses == ["mse", "cosine"]
    assert (settings.max_epochs, settings.trials, settings.rungs) == (100, 1, ())
    assert settings.objective == "val/cosine_sim"


def test_stage_2_is_infonce_for_300_epochs() -> None:
    losses, settings = stage("guide_2_infonce")
    assert losses == ["infonce"]
    assert (settings.max_epochs, settings.trials, settings.rungs) == (300, 1, ())


def test_stage_3_is_the_guide_s_grid() -> None:
    space = load_space("guide_3_infonce")
    points = [
        {"temperature": temperature, "batch_size": batch, "lr": lr}
        for temperature in (0.05, 0.07, 0.10)
        for batch in (32, 64)
        for lr in (5e-4, 7e-4, 1e-3)
    ]
    assert list(space.points()) == points
    settings = merged_settings([space], {})
    assert (settings.max_epochs, settings.trials, settings.sampler) == (300, len(points), "grid")


def test_the_template_is_all_losses_for_300_epochs() -> None:
    losses, settings = stage(*TEMPLATE)
    assert losses == ["mse", "cosine", "cosine_mse", "infonce"]
    assert (settings.max_epochs, settings.trials, settings.rungs) == (300, 1, ())
    assert all(load_space(name).size == 1 for name in TEMPLATE)
