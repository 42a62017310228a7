"""The paired figures of averaged weights, on curves made by hand."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import spearmanr

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def averaged(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("averaged_curves")
    monkeypatch.setitem(sys.modules, "averaged_curves", module)
    return module


def test_a_pair_is_compared_at_each_one_s_own_best_epoch_without_seeds_and_diverged_runs(
    averaged: ModuleType, tmp_path: Path
) -> None:
    nan = np.nan
    val = np.array([[0.1, 0.5, 0.2, 0.4], [0.1, 0.2, nan, nan], [0.3, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.9]])
    test = np.array([[0.1, 0.25, 0.2, 0.3], [0.1, 0.2, nan, nan], [0.5, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.9]])
    val_averaged = np.array([[0.1, 0.3, 0.4, 0.45], [0.1, 0.2, nan, nan], [0.2, 0.2, 0.4, 0.2], [0.9, 0.9, 0.9, 0.9]])
    test_averaged = np.array([[0.1, 0.2, 0.3, 0.35], [0.1, 0.2, nan, nan], [0.1, 0.1, 0.25, 0.1], [0.9, 0.9, 0.9, 0.9]])
    np.savez(
        tmp_path / "words_cosine_4.npz",
        settings=np.array([[1, nan], [2, 0], [3, nan], [1, nan]], dtype=np.float32),  # the last is the first again
        average_epochs=np.array([1.0]),
        val=val,
        test=test,
        val_averaged=val_averaged[None],
        test_averaged=test_averaged[None],
    )
    plain, averages = averaged.read(tmp_path / "words_cosine_4.npz")
    assert list(averages) == [1.0]
    gains = [0.35 - 0.25, 0.25 - 0.5]  # at epochs 4 against 2, and 3 against 1
    mean, error = averaged.gain(plain, averages[1.0])
    assert mean == pytest.approx(np.mean(gains))
    assert error == pytest.approx(np.std(gains, ddof=1) / 2**0.5)
    assert plain.jump == pytest.approx((0.2 + 0.0) / 2)  # of epoch 3 to 4


def test_the_best_third_is_chosen_by_both_kinds(averaged: ModuleType) -> None:
    level = np.linspace(0.1, 0.6, 6)[:, None] + np.zeros((6, 3))
    plain = averaged.Evaluated(level, level)
    better = averaged.Evaluated(level, level + np.array([0, 0, 0, 0, 0.1, 0.3])[:, None])
    assert averaged.gain(plain, better, 1 / 3) == pytest.approx((0.2, 0.1))


def test_an_early_rung_is_the_best_so_far_there_against_the_end(averaged: ModuleType) -> None:
    val = np.random.default_rng(0).random((20, 27))
    so_far = [max(row[:9]) for row in val], [max(row) for row in val]
    assert averaged.Evaluated(val, val).early == pytest.approx(spearmanr(*so_far).statistic)


def test_the_figures_of_the_docs_are_those_of_the_curves(averaged: ModuleType) -> None:
    text = (BENCHMARKS.parent / "docs" / "quickstart.md").read_text()
    section = text[text.index("## Averaged weights") : text.index("## Next")]
    head, _, *rows = [re.findall(r"[^|]+", line) for line in section.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    for name, *cells in rows:
        for loss, cell in zip(head[1:], cells, strict=True):
            plain, averages = averaged.read(BENCHMARKS / "curves" / f"{name.strip()}_{loss.strip()}_27.npz")
            mean, error = averaged.gain(plain, averages[1.0])
            jumps = 100 * averages[1.0].jump / plain.jump
            assert cell.strip().replace("−", "-") == f"{mean:+.4f} ± {error:.4f}, {jumps:.0f} %"
