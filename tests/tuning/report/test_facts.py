"""What a report is made from, before a confirmation and after it."""

from pathlib import Path

from losstune.tuning.report.facts import Facts
from losstune.tuning.study.trial import best_trial
from tests.tuning.reported import LAST, confirmed, curve, searched


def test_without_a_confirmation_each_losss_best_trial_stands_for_it_the_best_loss_first(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(4, 7))
    facts = Facts.of(study)
    assert {loss: trial.name for loss, trial in facts.chosen.items()} == {
        loss: best.name for loss, own in study.trials().items() if (best := best_trial(own)) is not None
    }
    assert list(facts.chosen) == list(facts.trials) == ["infonce", "cosine"]
    assert (facts.plan, facts.comparison, facts.confirm, facts.levels()) == (None, None, [], {})
    (history,) = facts.histories("cosine")
    assert [record["epoch"] for record in history] == list(range(1, facts.chosen["cosine"].epochs + 1))


def test_after_a_confirmation_the_picks_stand_with_all_their_seeds(tmp_path: Path) -> None:
    facts = Facts.of(confirmed(searched(tmp_path, trials=(4, 4)), top=2, seeds=3))
    assert facts.plan is not None
    assert facts.comparison is not None
    assert facts.chosen["infonce"].name == facts.comparison.pick("infonce").name
    histories = facts.histories("infonce")
    assert len(histories) == 3
    assert [record["val/mrr"] for record in histories[0]] == curve(0.4 - 0.0045, LAST)
    assert facts.levels() == {"chance": 0.02, "ridge": 0.17}  # the better of two
    assert facts.confirm


def test_a_pick_that_stopped_early_stands_with_the_seeds_that_it_has(tmp_path: Path) -> None:
    facts = Facts.of(confirmed(searched(tmp_path, trials=(4, 4)), top=1, early=True))
    assert {loss: len(facts.histories(loss)) for loss in facts.chosen} == {"infonce": 10, "cosine": 4}


def test_a_loss_without_a_value_comes_last_and_nothing_stands_for_it(tmp_path: Path) -> None:
    facts = Facts.of(searched(tmp_path, trials=(0, 1)))
    assert list(facts.trials) == ["cosine", "infonce"]
    assert list(facts.chosen) == ["cosine"]
