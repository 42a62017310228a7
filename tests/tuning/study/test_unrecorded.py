"""Folders of trials that the storage does not know."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from losstune.tuning.storage.sqlite_store import SqliteStore
from losstune.tuning.study.unrecorded import unrecorded, unrecorded_text


def trained(folder: Path, *names: str, history: str = '{"epoch": 1}\n') -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "history.jsonl").write_text(history)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"mse": 3, "mse-wide": 1}, []),
        ({"mse": 1, "mse-wide": 1}, ["mse-0001", "mse-0002"]),
        ({"mse": 3, "mse-wide": 0}, ["mse-wide-0000"]),
        ({"mse": 0}, ["mse-0000", "mse-0001", "mse-0002"]),
        ({"mse": 0, "mse-0002": 0}, ["mse-0000", "mse-0001", "mse-0002"]),  # a loss that has a trial's name
        ({"cosine": 0}, []),
    ],
)
def test_what_is_beyond_the_count_of_its_loss(tmp_path: Path, counts: Mapping[str, int], expected: list[str]) -> None:
    trained(tmp_path, "mse-0000", "mse-0001", "mse-0002", "mse-wide-0000")
    assert unrecorded(tmp_path, counts) == expected


def test_without_epochs_there_is_nothing_to_lose(tmp_path: Path) -> None:
    trained(tmp_path, "mse-0004", history="")
    (tmp_path / "mse-0005").mkdir()
    (tmp_path / "mse-0005" / "config.yaml").touch()
    assert unrecorded(tmp_path, {"mse": 0}) == []


def test_other_names_are_somebody_elses(tmp_path: Path) -> None:
    trained(tmp_path, "mse-7", "mse-00007", "mse--0007", "mse-١٢٣٤", "mse-0001.bak", "notes", "-0001")
    trained(tmp_path, f"mse-{'9' * 200}")
    (tmp_path / "mse-0001").touch()
    assert unrecorded(tmp_path, {"mse": 0}) == [f"mse-{'9' * 200}"]
    assert unrecorded(tmp_path / "none", {"mse": 0}) == []


def test_a_number_of_more_than_four_digits_is_one(tmp_path: Path) -> None:
    trained(tmp_path, "mse-10000")
    assert unrecorded(tmp_path, {"mse": 10000}) == ["mse-10000"]
    assert unrecorded(tmp_path, {"mse": 10001}) == []


def test_a_refusal_names_a_few_and_says_how_to_go_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    text = unrecorded_text([f"mse-000{number}" for number in range(6)], store, "/here/trials")
    assert text == (
        f"{tmp_path}/optuna.db does not know mse-0000, mse-0001, mse-0002, mse-0003 and 2 more in /here/trials, which "
        "have trained: it is not the storage that they were told to, or an earlier state of it, or damaged; restore it "
        "from a backup; where they are in a database, --study-storage or LOSSTUNE_STUDY_STORAGE names it. To go on "
        "without these trials, move their folders out of /here/trials."
    )
    assert " more in " not in unrecorded_text(["mse-0000"], store, "/here/trials")
