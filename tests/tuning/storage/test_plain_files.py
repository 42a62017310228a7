"""A study's folder holds plain files and folders, and nothing that leads out of it."""

import os
from pathlib import Path

import pytest

from losstune.tuning.storage.plain_files import check_inside
from tests.trainer.samples import refusal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "first" / "trials" / "mse-0000").mkdir(parents=True)
    (tmp_path / "first" / "trials" / "mse-0000" / "best.pt").write_bytes(b"1")
    return tmp_path / "first"


def test_plain_files_and_a_folder_that_is_not_there_are_fine(folder: Path) -> None:
    check_inside(folder)
    check_inside(folder / "none")


def test_a_link_a_pipe_and_a_folder_that_is_a_link_are_refused(folder: Path) -> None:
    run = folder / "trials" / "mse-0000"
    (run / "last.pt").symlink_to("best.pt")
    assert refusal(check_inside, folder) == (
        f"{run / 'last.pt'} is a link; a study holds plain files alone: put the file itself here"
    )
    (run / "last.pt").unlink()
    os.mkfifo(run / "pipe")
    assert refusal(check_inside, folder) == f"{run / 'pipe'} is not a file"
    folder.with_name("second").symlink_to(folder)
    assert refusal(check_inside, folder.with_name("second")) == (
        f"{folder.with_name('second')} is a link; a study is a folder of its own, and --storage says where"
    )
