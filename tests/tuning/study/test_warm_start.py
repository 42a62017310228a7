"""What is taken over from another study: what fits, at which point and epoch, kept for good, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.storage.home import Home
from losstune.tuning.study import warm_start
from losstune.tuning.study.continuation import continued
from losstune.tuning.study.study import Study, create_study
from losstune.tuning.study.trial import TrialView
from losstune.tuning.study.warm_start import EARLIER_FILE, earlier_trials, gathered
from tests.reliability.made import made
from tests.trainer.samples import refusal
from tests.tuning.reported import LAST, SPACES, VARIANTS, searched
from tests.tuning.samples import settings_of, space_of

NARROW = SPACES["infonce"].replace("low: 0.01", "low: 0.1")
"""Leaves out what is colder than 0.1."""


def warm(root: Path, other: Study, *texts: str, **settings: Any) -> Study:
    """A new study that begins with the trials of another one."""
    spaces = [space_of(text) for text in texts]
    given = settings_of(**{"max_epochs": LAST, "grace_epochs": 1, "sampler": "gp", **settings})
    spec, content = gathered(other, "study", spaces, given)
    study = create_study(Home(root), "new", spaces, given, "digits", "0" * 64, warm_start=spec)
    study.files.write(study.folder / EARLIER_FILE, content)
    return study


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that are made up by formulas do not stand a check against their files."""
    monkeypatch.setattr(warm_start, "sound_trials", Study.trials)


def known(trial: TrialView) -> tuple[Any, ...]:
    assert trial.ending is not None
    rungs = {epoch: value for epoch, value in trial.rungs.items() if not math.isnan(value)}
    return trial.point, rungs, trial.ending.state, trial.ending.diverged, trial.ending.epochs, trial.ending.best


def test_the_same_space_takes_over_all_that_says_something(tmp_path: Path, unchecked: None) -> None:
    """One that diverged says where not to look; one that failed says nothing."""
    other = searched(tmp_path, (8, 5))
    study = warm(tmp_path, other, *SPACES.values())
    assert study.spec.warm_start is not None
    assert study.spec.warm_start.text == (
        "7 of 7 trials of infonce of study study fit, 4 of 4 trials of cosine of study study fit"
    )
    told = {loss: [known(t) for t in own if t.shown_state != "failed"] for loss, own in other.trials().items()}
    assert {loss: [known(trial) for trial in own] for loss, own in earlier_trials(study).items()} == told
    assert [diverged for _, _, _, diverged, _, _ in told["infonce"]] == [False, True] + 5 * [False]


def test_what_does_not_fit_is_left_out(tmp_path: Path) -> None:
    other = made(tmp_path)
    fitting = [trial for trial in other.trials()["infonce"] if trial.point["temperature"] >= 0.1]
    study = warm(tmp_path, other, NARROW)
    (own,) = earlier_trials(study).values()
    assert [trial.point for trial in own] == [trial.point for trial in fitting]
    assert 0 < len(own) < 6
    assert study.spec.warm_start is not None
    assert study.spec.warm_start.text == f"{len(own)} of 6 trials of infonce of study study fit"


def test_a_loss_without_its_name_there_learns_from_its_loss_function(tmp_path: Path, unchecked: None) -> None:
    other = searched(tmp_path, (4, 5), spaces=VARIANTS)
    study = warm(tmp_path, other, SPACES["infonce"] + "    name: third", VARIANTS["sharp"], "loss_fn: mse")
    assert study.spec.warm_start is not None
    assert study.spec.warm_start.text == (
        "7 of 7 trials of infonce and sharp for third of study study fit, 4 of 4 trials of sharp of study study fit, "
        "study study has no mse"
    )
    assert {loss: [t.number for t in own] for loss, own in earlier_trials(study).items()} == {
        "third": list(range(7)), "sharp": list(range(4)), "mse": []
    }  # fmt: skip


def test_epochs_are_shares_of_what_a_trial_is_given(tmp_path: Path) -> None:
    other = made(tmp_path)  # 9 epochs, rungs at 1 and 3
    study = warm(tmp_path, other, SPACES["infonce"], max_epochs=81)
    first = earlier_trials(study)["infonce"][0]
    assert list(first.rungs) == [1, 9, 81]
    assert first.ending is not None
    assert first.ending.epochs == 81


def test_it_stays_when_the_other_study_is_gone(tmp_path: Path) -> None:
    other = made(tmp_path)
    study = warm(tmp_path, other, SPACES["infonce"])
    before = earlier_trials(study)
    other.delete()
    assert earlier_trials(study) == before
    assert study.trials() == {"infonce": []}


def test_what_was_taken_over_goes_along_into_a_space_that_grew(tmp_path: Path) -> None:
    study = warm(tmp_path, made(tmp_path), SPACES["infonce"])
    before = earlier_trials(study)["infonce"]
    grew = space_of(SPACES["infonce"] + "      batch_size: {choices: [16, 32]}")
    now = continued(study, [grew], {}, study.spec.data_digest, accept_change=True)
    assert [trial.point for trial in earlier_trials(now)["infonce"]] == [t.point | {"batch_size": 32} for t in before]


def test_a_study_without_a_warm_start_knows_nothing(tmp_path: Path) -> None:
    assert earlier_trials(made(tmp_path)) == {}


def test_a_file_that_changed_or_is_gone_is_refused(tmp_path: Path) -> None:
    study = warm(tmp_path, made(tmp_path), SPACES["infonce"])
    path = study.folder / EARLIER_FILE
    kept = json.loads(path.read_text())
    kept["infonce"][0]["values"][0][1] += 0.1
    path.write_text(json.dumps(kept))
    assert refusal(earlier_trials, study) == f"{path}: damaged; restore it from a backup, or start another study"
    path.unlink()
    assert refusal(earlier_trials, study) == f"{path}: gone; restore it from a backup, or start another study"


def refused(other: Study, *spaces: SearchSpace, **settings: Any) -> str:
    return refusal(gathered, other, "study", spaces, settings_of(**{"sampler": "gp", **settings}))


def test_what_is_refused(tmp_path: Path) -> None:
    other, space = made(tmp_path), space_of(SPACES["infonce"])
    assert refused(other, space, sampler="random") == (
        "--warm-start study: the sampler random learns nothing from trials; --sampler gp or tpe does"
    )
    assert refused(other, space, objective="val/cosine_sim") == (
        "--warm-start study: its trials are judged by val/mrr, those of this study by val/cosine_sim; only values of "
        "one objective say which setting is better"
    )
    assert refused(other, space_of("loss_fn: mse")) == (
        "--warm-start study: no trial of it is of use here (study study has no mse)"
    )
    cold = space_of(SPACES["infonce"] + "    fixed: {model.depth: 1}")
    text = refused(other, cold)
    assert text.startswith("--warm-start study: no trial of it is of use here (0 of 6 trials of infonce of study ")
    assert "; infonce-0000: model.depth 2, here 1" in text


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    other = made(tmp_path)
    history = other.trials_folder / "infonce-0000" / "history.jsonl"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:-1]))
    assert "infonce-0000/history.jsonl: holds 8 epochs, optuna.db says 9" in refused(other, space_of(SPACES["infonce"]))
