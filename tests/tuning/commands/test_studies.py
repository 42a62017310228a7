"""How commands come to a study."""

from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands import studies
from losstune.tuning.commands.studies import existing, held, named_study, other_study
from losstune.tuning.storage.database import database_at
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, open_study
from tests.tuning.reported import searched


def test_a_study_that_is_not_there_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study 'none' in "):
        existing(Home(tmp_path), "none")
    with pytest.raises(UserError, match="no study 'none' in "), held(Home(tmp_path), "none"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_holder_reads_the_study_once_and_nobody_else_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = searched(tmp_path, (1, 0))
    opened: list[str] = []

    def counted(home: Home, name: str) -> Study:
        opened.append(name)
        return open_study(home, name)

    monkeypatch.setattr(studies, "open_study", counted)
    with held(study.home, "study") as own:
        assert own.spec == study.spec
        assert opened == ["study"]
        with pytest.raises(UserError, match="study 'study' is in use by process"), held(study.home, "study"):
            pass
    assert opened == ["study"]


def test_another_study_is_named_or_its_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = searched(tmp_path / "elsewhere", (1, 0))
    monkeypatch.chdir(tmp_path)
    here = Home(Path("here"))
    assert named_study("study") == "study"
    folder = named_study(Path("elsewhere/studies/study"))
    assert folder == str(study.folder.resolve())
    assert other_study(here, folder).spec == other_study(study.home, "study").spec == study.spec
    with pytest.raises(UserError, match=r"no study 'study' in .*here/studies; found: none"):
        other_study(here, "study")
    there = study.spec.model_copy(update={"trials_in": "database"})
    Study(study.home, there).save()
    database = database_at("postgresql://me:geheim@db.example/studies")
    assert other_study(Home(Path("here"), database=database), folder).home.database == database
    with pytest.raises(UserError, match=r"study 'study' in .* has its trials in a database, and none is named: "):
        other_study(here, folder)
    Study(study.home, there.model_copy(update={"trials_in": None})).save()
    assert other_study(Home(Path("here"), database=database), folder).home.database is None
    with pytest.raises(UserError, match=r"elsewhere/study: no study is there; expected .* its folder, …/studies/NAME"):
        other_study(here, named_study("elsewhere/study"))
