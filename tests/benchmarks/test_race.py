"""The benchmark of races, on curves that are made up: who is as good, what is counted, and what the docs quote."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from losstune.tuning.space.settings import StudySettings
from tests.benchmarks.test_search import EPOCHS, ROOT, write_curves

sys.path.append(str(ROOT / "benchmarks"))  # its modules stand side by side
from race import MEASURES, Field, fields, raced, seed_noise, summary
from search_curves import read_curves
from search_simulation import LOSS, Own, simulate


def write_loss(folder: Path, data: str, loss: str, part: float, noise: float = 0.0, seeds: int = 1) -> None:
    """Curves of one loss, which reach a part of the others'."""
    file = write_curves(folder, f"{data}_{loss}_{EPOCHS}", count=20, noise=noise, seeds=seeds)
    arrays = dict(np.load(file))
    np.savez(file, **arrays | {"val": part * arrays["val"], "test": part * arrays["test"]})
    space = file.with_suffix(".yaml")
    space.write_text(space.read_text().replace("loss_fn: mse", f"loss_fn: {loss}"))


def field_of(folder: Path, *parts: float, noise: float = 0.0, seeds: int = 1) -> Field:
    """Losses that reach these parts, looked up."""
    for loss, part in zip(("mse", "cosine", "huber"), parts, strict=False):
        write_loss(folder, "made", loss, part, noise, seeds)
    return fields(folder, EPOCHS, "nearest")["made"]


def test_losses_of_one_data_set_and_horizon_are_a_field(tmp_path: Path) -> None:
    for data, loss in (("a", "mse"), ("a", "cosine"), ("b_c", "mse"), ("b_c", "cosine_mse"), ("alone", "mse")):
        write_loss(tmp_path, data, loss, 1.0)
    found = fields(tmp_path, EPOCHS, "nearest")
    assert {name: set(own.lands) for name, own in found.items()} == {
        "a": {"mse", "cosine"},
        "b_c": {"mse", "cosine_mse"},
    }
    assert fields(tmp_path, 81, "nearest") == {}


def test_as_good_is_what_one_training_can_not_tell_from_the_best(tmp_path: Path) -> None:
    assert field_of(tmp_path, 1.0, 0.99, 0.5).as_good() == ("mse", {"mse"})  # without seeds no noise is known
    noisy = field_of(tmp_path, 1.0, 0.99, 0.5, noise=0.02, seeds=4)
    assert noisy.as_good()[1] >= {"mse", "cosine"}
    assert "huber" not in noisy.as_good()[1]


def test_the_noise_between_seeds_is_that_of_the_test_value_where_validation_is_best(tmp_path: Path) -> None:
    curves = read_curves(write_curves(tmp_path, "made_mse_27", count=10, noise=0.02, seeds=3))
    by_hand = []
    for rows in curves.runs:
        values = [curves.test[row][list(curves.val[row]).index(max(curves.val[row]))] for row in rows]
        by_hand.append(sum((value - sum(values) / 3) ** 2 for value in values) / 2)
    assert seed_noise([curves]) == pytest.approx((sum(by_hand) / 10) ** 0.5)
    assert seed_noise([read_curves(write_curves(tmp_path, "one_mse_27", count=10))]) == 0.0


def test_without_a_race_losses_are_level_and_each_is_replayed_on_its_own_curves(tmp_path: Path) -> None:
    field = field_of(tmp_path, 1.0, 0.2)
    given = {"max_epochs": EPOCHS, "epochs_per_loss": 10 * EPOCHS, "sampler": "random"}
    search = Own([land.curves.space for land in field.lands.values()], StudySettings.model_validate(given))
    trace = simulate(search, field, np.inf, 0.0, seed=0)
    spent = {loss: sum(trial.epochs for trial in own) for loss, own in search.trials.items()}
    assert all(10 * EPOCHS <= own < 14 * EPOCHS for own in spent.values())  # four may run when it is spent
    assert trace.epochs[-1] == sum(spent.values())
    tops = {loss: max(trial.rank_value for trial in own) for loss, own in search.trials.items()}
    assert tops["mse"] > 2 * tops["cosine"]
    assert field.truth({LOSS: "mse", "lr": 1e-3, "batch_size": 16, "schedule": "constant"}) == pytest.approx(
        5 * field.truth({LOSS: "cosine", "lr": 1e-3, "batch_size": 16, "schedule": "constant"})
    )


def test_a_loss_that_is_far_behind_is_dropped_and_frees_epochs(tmp_path: Path) -> None:
    field = field_of(tmp_path, 1.0, 0.2)
    found = np.array([raced(field, 10, seed, "random") for seed in range(4)])
    best_out, none_good, freed, without, rise, saved = found.T
    assert not best_out.any()
    assert not none_good.any()
    assert (freed > 0.05).all()
    assert (freed < 0.5).all()  # never more than its own part
    assert (without > 0).all()
    assert (without + rise <= 1 + 1e-9).all()
    assert (saved <= rise + 1e-9).all()  # curves without noise: more is never worse


def test_where_nobody_is_dropped_the_race_is_the_study_without_it(tmp_path: Path) -> None:
    *dropped, without, rise, saved = raced(field_of(tmp_path, 1.0, 0.2), 2, 0, "random")
    assert [*dropped, rise, saved] == [0.0] * 5
    assert without > 0


def test_a_summary_has_errors_over_seeds() -> None:
    found = summary(np.array([[0.0] * len(MEASURES), [1.0] * len(MEASURES)]))
    assert found == {"seeds": 2} | {name: {"mean": 0.5, "error": 0.5} for name in MEASURES}


def test_the_command_prints_a_line_a_data_set_and_writes_json(tmp_path: Path) -> None:
    for data in ("a", "b"):
        for loss in ("mse", "cosine"):
            write_loss(tmp_path, data, loss, 1.0)
    words = ["--curves", tmp_path, "--seeds", "2", "--budgets", "2", "--between", "nearest"]
    program = [sys.executable, ROOT / "benchmarks" / "race.py", *words, "--json", tmp_path / "found.json"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 full trainings a loss, 2 seeds; between trained settings: nearest" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())["nearest"]["2"]
    assert list(found) == ["a", "b", "all"]
    assert found["all"]["best dropped"] == {"mean": 0.0, "error": 0.0}


def test_the_figures_of_the_docs_are_those_that_are_kept() -> None:
    text = (ROOT / "docs" / "confirming.md").read_text()
    section = text[text.index("## Racing instead of equal budgets") :]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    kept = json.loads((ROOT / "benchmarks" / "races.json").read_text())
    figures = kept["model"]["10"] | {"all, looked up": kept["nearest"]["10"]["all"]}
    told = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [name for name, *_ in told] == list(figures)
    for name, *cells in told:
        own = figures[name]
        shown = [own[what] for what in MEASURES]
        assert cells == [f"{100 * found['mean']:.1f} ±{100 * found['error']:.1f}" for found in shown]
        assert f"{own['seeds']} seeds" in section
