"""Changed under a study's feet: data, spaces, settings and versions are refused with the difference, or on record."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import NoReturn

import numpy as np
import pytest
import torch

from losstune.trainer.base.yaml_file import read_yaml
from losstune.tuning.confirm.plan import make_plan, plan_folder, plans, save_plan
from losstune.tuning.study.study import Study, open_study
from tests.conftest import Command
from tests.reliability.made import made
from tests.reliability.tallies import Recorder
from tests.trainer.samples import sample_arrays
from tests.tuning.reported import SPACES
from tests.tuning.samples import facts

pytestmark = [pytest.mark.torture, pytest.mark.always]

AGAIN = ("launch", "--study", "study", "--storage")
CONFIRM = ("confirm", "study", "--top", "1", "--seeds", "2", "--storage")
OLD = {"torch": "1.13.0", "optuna": "4.9.9"}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """On data in a file of the user's."""
    np.savez(tmp_path / "pairs.npz", **sample_arrays())  # type: ignore[arg-type]
    return made(tmp_path / "root", str(tmp_path / "pairs.npz"))


def contents(study: Study) -> dict[str, tuple[bytes, int]]:
    """Every file, with its time; not the lock, which says who held it last, nor the database, which tidies itself."""
    return {
        str(path.relative_to(study.home.root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(study.home.root.rglob("*"))
        if path.is_file() and path.name != ".lock" and not path.name.startswith("optuna.db")
    }


def change_data(study: Study) -> list[object]:
    """One number of one target, in place."""
    path = Path(study.spec.data_source)
    arrays = dict(np.load(path))
    arrays["targets"][3, 1] += 1e-6
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return []


def give_spaces(study: Study, cosine: str, *more: str) -> list[object]:
    texts = [SPACES["infonce"], cosine, *more]
    paths = [study.home.root.parent / f"{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(dedent(text))
    return list(paths)


CHANGES: dict[str, tuple[Callable[[Study], list[object]], str]] = {
    "data": (change_data, "data: SHA-256 "),
    "other data": (lambda study: ["--data", "digits"], "data: SHA-256 "),
    "space": (
        lambda study: give_spaces(study, SPACES["cosine"].replace("1.0e-1", "5.0e-2")),
        "spaces.cosine.space.lr: 0.0001 … 0.1, log in the study, 0.0001 … 0.05, log now; a range may become wider, ",
    ),
    "another loss": (
        lambda study: give_spaces(study, SPACES["cosine"], "loss_fn: mse\nspace: {lr: {low: 1e-4, high: 1e-2}}\n"),
        "spaces.mse: absent in the study, present now",
    ),
    "a loss less": (
        lambda study: give_spaces(study, SPACES["cosine"])[:1],
        "spaces.cosine: in the study, absent now",
    ),
    "seed": (lambda study: ["--seed", 7], "seed: 0 in the study, 7 now"),
    "objective": (
        lambda study: ["--objective", "val/cosine_sim"],
        "objective: val/mrr in the study, val/cosine_sim now",
    ),
    "epochs": (lambda study: ["--max-epochs", 27], "max_epochs: 9 in the study, 27 now"),
    "sampler": (lambda study: ["--sampler", "random"], "sampler: tpe in the study, random now"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_refused_with_the_difference(
    study: Study, losstune: Command, change: str, record: Recorder
) -> None:
    """--accept-change is for versions and for what grew alone."""
    apply, difference = CHANGES[change]
    arguments, before = apply(study), contents(study)
    for accept in ([], ["--accept-change"]):
        refused = losstune(*AGAIN, study.home.root, *arguments, *accept)
        assert refused.code == 2
        assert refused.err.startswith("error: study 'study' exists with other content; use another --study name")
        assert refused.err.splitlines()[1].startswith(difference)
        assert contents(study) == before
    record(9, "data, space, loss, settings", injected=2)


def test_a_space_that_grew_is_refused_until_it_is_accepted(study: Study, losstune: Command, record: Recorder) -> None:
    spaces = give_spaces(study, SPACES["cosine"].replace("1.0e-1", "2.0e-1"))
    grew = "spaces.cosine.space.lr: 0.0001 … 0.1, log in the study, 0.0001 … 0.2, log now"
    before, trials = contents(study), study.trials()
    refused = losstune(*AGAIN, study.home.root, *spaces)
    assert refused.code == 2
    assert refused.err.startswith("error: study 'study': what is searched grew; go on in it with --accept-change, ")
    assert refused.err.splitlines()[1:] == [grew]
    assert contents(study) == before
    accepted = losstune(*AGAIN, study.home.root, *spaces, "--accept-change")
    assert accepted.code == 0, accepted.err
    assert "Note: what is searched for cosine grew; its 6 trials go on in it" in accepted.out + accepted.err
    now = open_study(study.home, "study")
    assert [facts(trial) for trial in now.trials()["cosine"]] == [facts(trial) for trial in trials["cosine"]]
    for command in (AGAIN[:-1], ("status", "study"), ("report", "study"), ("list",), ("sync", "study")):
        ended = losstune(*command, "--storage", study.home.root)
        assert ended.code == 0, ended.err
    assert losstune("delete", "study", "--yes", "--storage", study.home.root).code == 0
    record(9, "a space that grew")


def test_a_confirmation_on_other_data_is_refused(study: Study, losstune: Command, record: Recorder) -> None:
    change_data(study)
    before = contents(study)
    refused = losstune(*CONFIRM, study.home.root)
    assert refused.code == 2
    assert "is not the data of study 'study': SHA-256 " in refused.err
    assert contents(study) == before
    record(9, "data, space, loss, settings")


def test_other_versions_are_refused_until_they_are_accepted(study: Study, losstune: Command, record: Recorder) -> None:
    Study(study.home, study.spec.model_copy(update={"versions": {**study.spec.versions, **OLD}})).save()
    before = contents(study)
    refused = losstune(*AGAIN, study.home.root)
    assert refused.code == 2
    assert f"torch: 1.13.0 in the study, {torch.__version__.partition('+')[0]}" in refused.err
    assert "optuna: 4.9.9 in the study, " in refused.err
    assert "--accept-change" in refused.err
    assert contents(study) == before
    accepted = losstune(*AGAIN, study.home.root, "--accept-change")
    assert accepted.code == 0, accepted.err
    spec = open_study(study.home, "study").spec
    assert spec.versions == study.spec.versions
    (change,) = spec.changes
    assert change.keys() == {"at", "torch", "optuna"}
    assert change["torch"].startswith("1.13.0 in the study, ")
    assert read_yaml(study.folder / "study.yaml").data["changes"] == [change]
    assert losstune(*AGAIN, study.home.root).code == 0
    assert open_study(study.home, "study").spec.changes == [change]
    record(9, "versions, a search")


class ReachedTraining(Exception):  # noqa: N818
    """A confirmation was about to train."""


@contextmanager
def no_session(*_: object) -> NoReturn:  # type: ignore[misc]
    raise ReachedTraining


def test_an_unfinished_confirmation_goes_on_with_other_versions_only_on_record(
    study: Study, losstune: Command, monkeypatch: pytest.MonkeyPatch, record: Recorder
) -> None:
    plan = make_plan(study, 1, 1, 2, 1, split_given=False)
    save_plan(study, plan.model_copy(update={"versions": {**plan.versions, **OLD}}))
    before = contents(study)
    monkeypatch.setattr("losstune.tuning.commands.confirm.session", no_session)
    refused = losstune(*CONFIRM, study.home.root)
    assert refused.code == 2
    assert refused.err.startswith("error: confirmation 1 of study 'study' began with other versions; ")
    assert "torch: 1.13.0 in the study, " in refused.err
    assert contents(study) == before
    with pytest.raises(ReachedTraining):
        losstune(*CONFIRM, study.home.root, "--accept-change")
    (kept,) = plans(study)
    assert kept.number == 1
    assert kept.versions == plan.versions
    assert [change.keys() for change in kept.changes] == [{"torch", "optuna"}]
    assert json.dumps(kept.changes[0]) in json.dumps(read_yaml(plan_folder(study, 1) / "plan.yaml").data)
    record(9, "versions, a confirmation")


@pytest.mark.usefixtures("untracked")
def test_data_that_moved_is_taken_from_where_it_is_said_to_be(
    study: Study, losstune: Command, monkeypatch: pytest.MonkeyPatch, record: Recorder
) -> None:
    save_plan(study, make_plan(study, 1, 1, 2, 1, split_given=False))
    before = contents(study)
    place = Path(study.spec.data_source).rename(study.home.root.parent / "moved.npz")
    for command in (AGAIN, CONFIRM):
        refused = losstune(*command, study.home.root)
        assert (refused.code, contents(study)) == (2, before)
        assert refused.err.splitlines() == [
            f"error: --data {study.spec.data_source}: no such file",
            "That is where study 'study' had its data: --data names its new place, where its content is the same",
        ]
        other = losstune(*command, study.home.root, "--data", "digits")
        assert (other.code, contents(study)) == (2, before)
        assert "SHA-256 " in other.err
    went_on = losstune(*AGAIN, study.home.root, "--data", place)
    assert went_on.code == 0, went_on.err
    assert f"Note: the data of study study is at {place} now" in " ".join(went_on.out.split())
    assert losstune(*AGAIN, study.home.root).code == 0, "the new place is kept"
    assert losstune("export", "study", "--storage", study.home.root, "--output", "best.yaml").code == 0
    assert read_yaml(Path("best.yaml")).data["data"] == str(place)

    elsewhere = place.rename(study.home.root.parent / "again.npz")
    monkeypatch.setattr("losstune.tuning.commands.confirm.session", no_session)
    with pytest.raises(ReachedTraining):
        losstune(*CONFIRM, study.home.root, "--data", elsewhere)
    assert open_study(study.home, "study").spec.data_source == str(elsewhere)
    assert contents(study)["studies/study/confirm/1/plan.yaml"] == before["studies/study/confirm/1/plan.yaml"]
    record(9, "data moved", injected=2)


@pytest.mark.usefixtures("untracked")
def test_code_of_the_users_that_changed_is_told_once_and_kept_on_record(
    tmp_path: Path, losstune: Command, monkeypatch: pytest.MonkeyPatch, record: Recorder
) -> None:
    module = tmp_path / f"changed_{tmp_path.name}.py"
    module.write_text("from tests.trainer.samples import sample_arrays\n")
    monkeypatch.syspath_prepend(tmp_path)
    study = made(tmp_path / "root", f"{module.stem}:sample_arrays")
    old = study.spec.code
    assert "changed since" not in losstune(*AGAIN, study.home.root).out
    module.write_text("from tests.trainer.samples import sample_arrays  # otherwise\n")
    told = losstune(*AGAIN, study.home.root)
    assert told.code == 0
    assert f"{module.name} changed since the last launch of study study" in " ".join(told.out.split())
    spec = open_study(study.home, "study").spec
    assert [change.keys() for change in spec.changes] == [{"at", module.stem}]
    assert spec.code != old
    assert "changed since" not in losstune(*AGAIN, study.home.root).out
    record(9, "code of the user's")
