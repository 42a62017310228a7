"""Syne Tune's schedulers as searches; where that package is not installed, as in CI, there is nothing to test."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("syne_tune")
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from search_curves import Run
from search_simulation import simulate
from syne_tune_peers import SYNE_TUNE

from losstune.tuning.space.search_space import Point
from losstune.tuning.space.settings import StudySettings
from tests.tuning.samples import settings_of, space_of

SPACE = space_of("""
    loss_fn: mse
    start: [{lr: 1.0e-2, schedule: constant, batch_size: 16, model.dropout: 0.2, weight_decay: 0.1}]
    space:
      lr: {low: 1.0e-4, high: 1.0e-1, log: true}
      batch_size: {choices: [16, 32, 64]}
      model.dropout: {low: 0.1, high: 0.4, step: 0.1}
      weight_decay: {low: 0.0, high: 0.5}
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 1, high: 4, int: true, when: {schedule: cosine}}
""")
EPOCHS = 27


class Flat:
    """Every setting trains alike, an epoch a second, and is worth its learning rate; with high ones it diverges."""

    best = 1e-1

    def __init__(self) -> None:
        self.seen: list[Point] = []

    def run(self, point: Point, random: np.random.Generator) -> Run:
        self.seen.append(point)
        values = np.full(EPOCHS, point["lr"])
        return Run(np.where(np.arange(EPOCHS) < 4, values, np.nan) if point["lr"] > 5e-2 else values, 1.0)

    def truth(self, point: Point) -> float:
        return float(point["lr"])


def searched(name: str, seed: int) -> tuple[list[Point], Any]:
    settings: StudySettings = settings_of(max_epochs=EPOCHS, epochs_per_loss=40 * EPOCHS, seed=seed)
    land = Flat()
    return land.seen, simulate(SYNE_TUNE[name](SPACE, settings), land, 5 * EPOCHS, 0.0, seed)


@pytest.mark.parametrize("name", SYNE_TUNE)
def test_it_proposes_points_of_the_space_its_start_first_and_cuts_at_rungs(name: str) -> None:
    points, trace = searched(name, 0)
    assert points[0] == SPACE.start[0]
    for point in points:
        assert set(point) == {parameter.name for parameter in SPACE.parameters if parameter.active(point)}
        assert all(
            point[parameter.name] in parameter.domain for parameter in SPACE.parameters if parameter.name in point
        )
    assert any(point["lr"] > 5e-2 for point in points)  # so one diverged
    assert len(points) > 5 * EPOCHS / EPOCHS + 4  # some were cut
    assert (np.diff(trace.share) >= 0).all()


@pytest.mark.parametrize("name", SYNE_TUNE)
def test_a_search_is_repeated_by_its_seed(name: str) -> None:
    assert searched(name, 1) == searched(name, 1)
    assert searched(name, 1) != searched(name, 2)
