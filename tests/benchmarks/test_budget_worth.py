"""What the product says of budgets: the figures of the benchmark that are kept, and no others."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from losstune.tuning.search.budget_worth import NOISE, SHARES, doubling_pays_to

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # its modules stand side by side
import budget_worth  # noqa: E402
from search_curves import Curves  # noqa: E402


def test_the_product_says_what_is_kept() -> None:
    assert set(SHARES) == set(budget_worth.SAMPLERS)
    assert len(budget_worth.FILES) == 5
    for sampler, own in SHARES.items():
        assert budget_worth.kept_shares(sampler) == own
    assert budget_worth.noise_of_ten() == NOISE


def test_the_noise_is_that_of_runs_of_one_setting() -> None:
    """By hand: best in validation at epochs 2, 1 and 1; the single run of the other setting says nothing."""
    val = np.array([[0.1, 0.5], [0.5, 0.1], [0.6, 0.1], [0.9, 0.9]])
    test = np.array([[0.9, 0.2], [0.4, 0.9], [0.3, 0.9], [0.1, 0.1]])
    curves = Curves("made", None, [{}, {}], [[0, 1, 2], [3]], val, test, np.ones(4))  # type: ignore[arg-type]
    assert budget_worth.noise(curves) == pytest.approx(0.1 / 0.3)


def test_the_docs_say_so_too() -> None:
    text = " ".join((ROOT / "docs" / "spaces.md").read_text().split())
    assert f"which was {NOISE:.1%}".replace("%", " %") in text
    kept = json.loads(budget_worth.FIGURES.read_text())["model"]
    ten = [
        (kept[file.stem]["gp"]["seeds"], kept[file.stem]["gp"]["epochs"]["10"]["error"]) for file in budget_worth.FILES
    ]
    scatter = [100 * error * seeds**0.5 for seeds, error in ten]
    assert f"after 10 full trainings those of `gp` lay {min(scatter):.0f} to {max(scatter):.0f} points about" in text
    gained = [
        f"{SHARES['gp'][2 * one].mean / SHARES['gp'][one].mean - 1:.1%}".replace("%", " %") for one in (10, 20, 40)
    ]
    assert "`gp` gained {} from 10 to 20, {} from 20 to 40 and {} from 40 to 80".format(*gained) in text
    assert f"the border lies at about {doubling_pays_to(SHARES['gp'])[0]}," in text
    for sampler, most in (("tpe", 40), ("random", 80)):
        assert (max(SHARES[sampler]), doubling_pays_to(SHARES[sampler])) == (most, (most // 2, most // 2))
