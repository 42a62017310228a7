"""The benchmark of early stops: what it counts, on kept and simulated confirmations, and what the docs quote."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.test_search import ROOT
from tests.tuning.reported import confirmed, searched

sys.path.append(str(ROOT / "benchmarks"))  # its modules stand side by side
import looks
from looks import WORLDS, counts, given_by_both, given_by_objective, limits, most_saved, saved, simulate, truths

DOCUMENT = ROOT / "docs" / "confirming.md"


def three(*levels: tuple[float, float]) -> "np.ndarray":
    """(settings, 10, 2): levels of two measures, with a little that differs from seed to seed."""
    noise = 0.01 * np.random.default_rng(1).standard_normal((len(levels), 10, 2))
    return np.asarray(np.array(levels)[:, None, :] + noise)


def test_a_setting_that_wins_the_other_measure_stops_by_the_objective_alone() -> None:
    validation = three((0.9, 0.2), (0.5, 0.8), (0.2, 0.1))
    assert given_by_objective(validation).tolist() == [10, 4, 4]
    assert given_by_both(validation).tolist() == [10, 10, 4]
    assert saved(validation, given_by_objective, orders=3) == pytest.approx(12 / 30)
    assert most_saved(validation[..., :1]) == pytest.approx(12 / 30)
    assert most_saved(validation) == pytest.approx(6 / 30)


def test_the_table_of_the_docs_is_what_the_benchmark_prints() -> None:
    command = [sys.executable, "benchmarks/looks.py", "saved"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rows = [re.findall(r"[\d.]+", line)[-6:] for line in printed.splitlines()[2:]]
    quoted = re.findall(
        r"^\| (?:demo \d|\w+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", DOCUMENT.read_text(), re.M
    )
    assert [(settings, early, smallest, both) for settings, _, early, smallest, _, both in rows] == quoted
    assert min(float(early) for _, _, early, *_ in rows[:3]) >= 30
    assert [int(float(row[4])) for row in rows[:3]] == [37, 0, 7]


@pytest.mark.parametrize("name", WORLDS)
def test_simulated_scores_have_the_true_means(name: str) -> None:
    rng, levels = np.random.default_rng(0), np.array([0.5, 0.0])
    made = [simulate(WORLDS[name], levels, rng) for _ in range(1500)]
    expected = truths(WORLDS[name], levels)
    assert expected[0] > expected[1]
    for scores in (np.array([val for val, _ in made]), np.array([test for _, test in made])):
        means = scores.mean(axis=(2, 3))
        assert np.abs(means.mean(axis=0) - expected).max() < 4 * means.std() / np.sqrt(len(made))


def test_limits_come_in_the_order_of_their_scores_whatever_their_seeds() -> None:
    scores = [np.full((seeds, 5), float(level)) for level, seeds in enumerate((10, 4, 10, 6))]
    assert [round(value) for value, _, _ in limits(scores, 0)] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [0.0, 2.0])
def test_limits_and_claims_hold_with_early_stops(ahead: float) -> None:
    found = counts(WORLDS["ranks"], ahead, early=True, studies=1000)
    assert found.false_claims <= 5
    assert 93 <= found.held <= 98
    assert found.false_stops <= 2
    assert (found.stopped > 20) == (ahead > 0)


def test_a_confirmation_is_kept_with_both_measures_at_its_best_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "KEPT", tmp_path / "looks.json")
    looks.KEPT.write_text("{}")
    study = confirmed(searched(tmp_path, (3, 3)), top=1)
    monkeypatch.setattr(looks, "read_history", lambda path: [{"val/mrr": 0.25, "val/cosine_sim": 0.75}])
    looks.keep("mine", study.folder)
    kept = looks.kept()["mine"]
    assert kept["cosine-0000"] == [[0.25, 0.75]] * 10
    assert len(kept) == 4


def test_a_confirmation_that_stopped_early_is_not_kept(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, early=True)
    with pytest.raises(SystemExit, match="expected a confirmation with 10 seeds for each setting"):
        looks.keep("mine", study.folder)
