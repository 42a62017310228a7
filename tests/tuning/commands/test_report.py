"""The report as a command: kept with the study, in MLflow where that can be reached, and inside a notebook."""

import errno
import html
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands import sync
from losstune.tuning.commands.report import report
from losstune.tuning.storage.study_files import FolderFiles
from losstune.tuning.track.runs import REPORT_FILE
from tests.tuning.reported import searched


def test_it_is_written_kept_and_shown_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(sync, "sync_study", lambda study, uri: synced.append(uri))
    study = searched(tmp_path, (2, 2))
    written = report(study, tmp_path / "r.html", "sqlite:///m.db")
    page = (tmp_path / "r.html").read_text()
    assert (study.folder / REPORT_FILE).read_text() == page
    assert (written.size, written.not_in_mlflow, synced) == (len(page.encode()), "", ["sqlite:///m.db"])
    assert Path(written) == tmp_path / "r.html"
    frame = written._repr_html_()
    assert html.unescape(frame[frame.index('"') + 1 : frame.index('" style=')]) == page


def test_a_pipe_gets_the_page_and_the_study_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "sync_study", lambda study, uri: None)
    study, pipe = searched(tmp_path, (2, 2)), tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        page = reader.submit(pipe.read_bytes)
        written = report(study, pipe, "sqlite:///m.db")
        assert page.result() == (study.folder / REPORT_FILE).read_bytes()
    assert written.size == len(page.result()) > 100_000
    assert pipe.is_fifo()


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_study_that_can_not_keep_it_is_told_in_a_line_with_where_the_page_is(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FolderFiles, path: Path, content: bytes) -> None:
        raise OSError(reason, os.strerror(reason), str(path))

    study = searched(tmp_path, (2, 2))
    monkeypatch.setattr(FolderFiles, "write", refuse)
    monkeypatch.setattr(sync, "sync_study", lambda study, uri: pytest.fail("MLflow gets what the study keeps"))
    with pytest.raises(UserError) as refused:
        report(study, tmp_path / "r.html", "sqlite:///m.db")
    assert str(refused.value) == (
        f"{study.folder / REPORT_FILE}: can not be written: {os.strerror(reason)}; the report is in "
        f"{tmp_path / 'r.html'} alone, and MLflow lacks it"
    )
    assert (tmp_path / "r.html").exists()


def test_mlflow_that_can_not_be_reached_is_told_and_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("down")

    monkeypatch.setattr(sync, "sync_study", refuse)
    study = searched(tmp_path, (2, 2))
    written = report(study, tmp_path / "r.html", "http://nowhere")
    place = f"--storage {tmp_path} --tracking-uri http://nowhere"
    assert written.not_in_mlflow == f"MLflow lacks the report (down): losstune sync study {place}"


def test_there_is_no_report_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        report(searched(tmp_path, (0, 0)), tmp_path / "r.html", "http://nowhere")
    assert str(refused.value) == (
        "study 'study' has no trial with a value yet, so there is nothing to report: "
        f"losstune status study --storage {tmp_path} tells how far it is"
    )
    assert not (tmp_path / "r.html").exists()
