"""A study is removed by its holder alone, its runs in MLflow first."""

from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands import delete
from losstune.tuning.commands.delete import delete_study
from losstune.tuning.commands.studies import held
from losstune.tuning.storage.home import Home
from tests.tuning.reported import searched


def test_folder_and_runs_go_and_what_is_held_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[tuple[str, str, bool]] = []
    study = searched(tmp_path, (1, 1))
    monkeypatch.setattr(delete, "delete_experiment", lambda n, uri: gone.append((n, uri, study.folder.exists())))
    with held(study.home, "study"), pytest.raises(UserError, match="study 'study' is in use by process"):
        delete_study(study.home, "study", "uri")
    assert gone == []
    delete_study(study.home, "study", "uri")
    assert gone == [("study", "uri", True)]
    assert not study.folder.exists()
    with pytest.raises(UserError, match="no study 'study' in "):
        delete_study(Home(tmp_path), "study", "uri")
