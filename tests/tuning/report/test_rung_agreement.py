"""Whether the order of runs at a rung is their order later, by hand and on studies made by formulas."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from losstune.tuning.confirm.confirm_runs import runs_of
from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.report.rung_agreement import (
    Agreement,
    RungRun,
    agreement,
    confirm_agreements,
    rung_verdict,
    search_agreements,
)
from losstune.tuning.study.trial import Ending
from tests.tuning.reported import confirmed, searched
from tests.tuning.samples import CONDITIONAL, cut, diverged, failed, new_trials, space_of, used_up


def runs_in(group: str, *bests: tuple[float, float]) -> list[RungRun]:
    """Runs by their best at epoch 1 and at the end, epoch 9."""
    return [RungRun(group, f"{group}-{i}", {1: early, 9: late}) for i, (early, late) in enumerate(bests)]


def test_agreement_counts_pairs_within_groups() -> None:
    # group a: 0.1 < 0.2 < 0.3 early, and 0.5, 0.7, 0.6 at the end: two of three pairs keep their order
    runs = runs_in("a", (0.1, 0.5), (0.2, 0.7), (0.3, 0.6)) + runs_in("b", (0.9, 0.1), (0.8, 0.0))
    found = agreement(runs, 1)
    assert found is not None
    assert (found.pairs, found.runs, found.share) == (4, 5, 0.75)
    assert found.tau == pytest.approx(0.5)


def test_the_interval_is_a_jackknife_over_units() -> None:
    # ten pairs of their own, seven keep their order: without a run the share is 6/9 (14 of 20 times) or 7/9
    kept = [run for i in range(7) for run in runs_in(f"kept {i}", (0.1, 0.5), (0.2, 0.7))]
    lost = [run for i in range(3) for run in runs_in(f"lost {i}", (0.2, 0.5), (0.1, 0.7))]
    found = agreement(kept + lost, 1)
    assert found is not None
    assert found.share == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - 1.96 * math.sqrt(19 * 0.7 * 0.3) / 9)
    assert found.high == 1.0


@pytest.mark.parametrize("losses", [1, 3])
def test_pairs_that_all_agree_are_not_certain(losses: int) -> None:
    """Six seeds, in each of which all losses' pairs have one order: six coins that all fell on one side."""
    runs = [
        RungRun(f"{loss}/{seed}", f"seed {seed}", {1: early, 9: early})
        for loss in range(losses)
        for seed in range(6)
        for early in (0.1, 0.2)
    ]
    limits = stats.binomtest(6, 6).proportion_ci(method="exact")
    found = agreement(runs, 1)
    assert found is not None
    assert (found.share, found.low, found.high) == (1.0, pytest.approx(limits.low), 1.0)
    crossed = agreement([replace(run, best={1: -run.best[1], 9: run.best[9]}) for run in runs], 1)
    assert crossed is not None
    assert (crossed.share, crossed.low, crossed.high) == (0.0, 0.0, pytest.approx(1 - limits.low))


def test_pairs_that_share_trials_count_as_fewer() -> None:
    found = agreement(runs_in("a", *((0.1 * i, 0.1 * i) for i in range(6))), 1)  # 15 pairs of six trials
    assert found is not None
    assert (found.pairs, found.low) == (15, pytest.approx(stats.binomtest(3, 3).proportion_ci(method="exact").low))


def test_ties_early_count_half_and_ties_at_the_end_do_not_count() -> None:
    found = agreement(runs_in("a", (0.1, 0.5), (0.1, 0.7), (0.3, 0.7)), 1)
    assert found is not None
    assert (found.pairs, found.share) == (2, 0.75)


def test_what_was_reported_between_rungs_counts_from_then_on() -> None:
    run = RungRun("a", "a-0", {2: 0.1, 5: 0.4, 9: 0.3, 10: math.nan})
    assert [run.at(epoch) for epoch in (1, 2, 4, 5, 10)] == [None, 0.1, 0.1, 0.4, 0.4]


def test_each_run_is_looked_at_once_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at in each of its pairs, a search of 4,000 trials took a report of a minute."""
    looked: list[int] = []
    at = RungRun.at
    monkeypatch.setattr(RungRun, "at", lambda run, epoch: looked.append(epoch) or at(run, epoch))
    assert agreement(runs_in("a", *((0.01 * i, -0.01 * i) for i in range(50))), 1) is not None
    assert sorted(looked) == [1] * 50 + [9] * 50


@pytest.mark.parametrize("runs", [[], runs_in("a", (0.1, 0.2)), runs_in("a", (0.1, 0.2), (0.2, 0.2))])
def test_no_pair_no_agreement(runs: list[RungRun]) -> None:
    assert agreement(runs, 1) is None


def test_search_trials_are_compared_where_they_got_to() -> None:
    trials = new_trials(space_of(CONDITIONAL))

    def add(rungs: dict[int, float], ending: Ending) -> None:
        number = trials.add({"temperature": 0.1, "schedule": "constant"}, seed=0)
        for rung, value in rungs.items():
            trials.report(number, rung, value)
        trials.end(number, ending)

    add({3: 0.10, 9: 0.20}, used_up(0.50, 27))
    add({3: 0.20, 9: 0.30}, used_up(0.40, 27))
    add({3: 0.30}, Ending("complete", "no new best since epoch 4", 7, 0.45, 4))  # at rungs 9 and after: 0.45
    add({3: 0.40}, cut(0.35, 9))
    add({}, cut(0.01, 3))
    add({3: 0.90}, diverged(9, 0.9))
    add({3: 0.90}, failed(9))
    found = {(one.epoch, one.later): one for one in search_agreements({"infonce": list(trials)}, (3, 9))}
    assert {step: (one.runs, one.pairs) for step, one in found.items()} == {
        (3, 9): (4, 6),
        (3, None): (3, 3),
        (9, None): (3, 3),
    }
    # at 3: 0.1 0.2 0.3 0.4; at 9: 0.2 0.3 0.45 0.35; at the end: 0.5 0.4 0.45
    assert found[3, 9].share == pytest.approx(5 / 6)
    assert found[3, None].share == pytest.approx(1 / 3)


def test_a_confirmation_compares_settings_with_the_same_seed(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, trials=(6, 6)), seeds=3)
    plan = latest_finished(study)
    assert plan is not None
    found = confirm_agreements(runs_of(study, plan), (1, 3))
    # three settings a loss, two losses, three seeds; the formulas never cross
    assert [(one.epoch, one.later, one.runs, one.pairs, one.share) for one in found] == [
        (1, None, 18, 18, 1.0),
        (3, None, 18, 18, 1.0),
    ]


def made(share: float, low: float, runs: int = 20) -> list[Agreement]:
    return [Agreement(3, None, runs, 40, share, low, 1.0)]


@pytest.mark.parametrize(
    ("search", "confirm", "begins"),
    [
        ([], [], "Too few runs"),
        (made(0.9, 0.8, runs=9), [], "Too few runs"),
        (made(0.9, 0.8), [], "The first rung was late enough: "),
        (made(0.9, 0.8), made(0.55, 0.45), "The first rung may have been too early: "),
        ([], made(0.65, 0.55), "The first rung was a weak guide: "),
        ([], made(1.0, 0.48), "Too few runs agree to say that the first rung was late enough: "),
        (made(0.9, 0.8), made(0.5, 0.1, runs=4), "The first rung was late enough: "),
    ],
)
def test_the_verdict_trusts_the_confirmation_first(
    search: list[Agreement], confirm: list[Agreement], begins: str
) -> None:
    assert rung_verdict(3, search, confirm).startswith(begins)


def test_the_verdict_says_over_how_many_runs_it_is() -> None:
    assert rung_verdict(3, made(0.9, 0.8), []) == (
        "The first rung was late enough: of two settings of a loss, the better one at epoch 3 is the better one at the "
        "end in 90 % of 40 pairs [80, 100], over 20 trials that the search never cut; 50 % is chance."
    )
