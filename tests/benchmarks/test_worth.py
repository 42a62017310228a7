"""The tables of what losses are worth, by figures written by hand, and those of the docs."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def worth(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = importlib.import_module("worth")
    monkeypatch.setitem(sys.modules, "worth", module)
    return module


def arm(loss: str, mrr: float) -> dict[str, Any]:
    test = {name: {"value": mrr, "low": mrr - 0.1, "high": mrr + 0.1} for name in ("mrr", "recall_at_10", "cosine_sim")}
    return {"loss": loss, "test": test, "cpu_seconds": 0.0125}


def pair(first: str, second: str, value: float, verdict: str) -> dict[str, Any]:
    gap = {"value": value, "low": value - 0.01, "high": value + 0.01}
    return {"first": first, "second": second, "difference": gap, "verdict": verdict}


def told(worth: ModuleType) -> dict[str, Any]:
    """infonce, mse below it, its first variant above it, all others below and not known to be."""
    up, *others = worth.VARIANTS
    arms = [arm("infonce", 0.4), arm("mse", 0.2), arm(up, 0.5), *(arm(name, 0.39) for name in others)]
    pairs = [
        pair("infonce", "mse", 0.2, "first"),
        pair(up, "infonce", 0.1, "first"),
        *(pair("infonce", name, 0.02, "undecided") for name in others),
    ]
    return {"arms": arms, "pairs": pairs, "ridge": {"test": arm("ridge", 0.3)["test"]}}


def test_what_is_known_against_infonce_is_marked_the_best_on_average_first(worth: ModuleType) -> None:
    lines = list(worth.summary({"a": told(worth), "b": told(worth)}))
    assert lines[0] == "| test MRR | a | b | of the best |"
    assert lines[2] == "| `infonce_decoupled` | 0.500 ▲ | 0.500 ▲ | 100.0% |"
    assert lines[3] == "| `infonce` | 0.400 | 0.400 | 80.0% |"
    assert lines[-2:] == ["| `mse` | 0.200 ▼ | 0.200 ▼ | 40.0% |", "| ridge regression | 0.300 | 0.300 | |"]


def test_what_a_variant_adds_has_the_sign_of_the_variant(worth: ModuleType) -> None:
    lines = list(worth.variants({"a": told(worth)}))
    assert lines[2:4] == [
        "| `infonce_decoupled` | **+0.100 [+0.090, +0.110]** |",
        "| `infonce_hardness` | −0.020 [−0.030, −0.010] |",
    ]


def test_a_set_has_its_arms_with_limits_cost_and_whom_they_beat(worth: ModuleType) -> None:
    lines = list(worth.whole("a", told(worth)))
    assert lines[0] == "| a | MRR | recall@10 | cosine | CPU ms an epoch | beats |"
    limits = " | ".join(["0.500 [0.400, 0.600]"] * 3)
    assert lines[2] == f"| `infonce_decoupled` | {limits} | 12 | 1 |"
    assert lines[-1] == f"| ridge regression | {' | '.join(['0.300 [0.200, 0.400]'] * 3)} | | |"


def test_the_tables_of_the_docs_are_those_of_what_is_kept(worth: ModuleType) -> None:
    whole = (ROOT / "docs" / "losses.md").read_text()
    _, section = whole.split("\n## What they are worth\n")
    for line in worth.tables():
        assert line in section
        assert whole.count(line) == 1 or set(line) <= {*"|-"}, line
    assert set(worth.kept()) == set(worth.SETS)
    for own in worth.kept().values():
        assert {arm["loss"] for arm in own["arms"]} == {*worth.LOSSES, *worth.VARIANTS}
