"""A study's files, in a folder and in a bucket: two kinds, one behaviour."""

import shutil
from pathlib import Path

import pytest

from losstune.tuning.storage.bucket import Bucket
from losstune.tuning.storage.bucket_layout import Opening, part_name
from losstune.tuning.storage.run_places import BucketPlace, FolderPlace
from losstune.tuning.storage.study_files import BucketFiles, FolderFiles, StudyFiles

ID = "5f0c"


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> StudyFiles:
    folder = tmp_path / "studies" / "first"
    folder.mkdir(parents=True)
    if request.param == "folder":
        return FolderFiles(folder)
    return BucketFiles(folder, request.getfixturevalue("bucket"), ID)


def test_what_is_written_is_read_in_the_folder(files: StudyFiles) -> None:
    path = files.folder / "study.yaml"
    files.write(path, b"one")
    files.write(path, b"two")
    files.keep(path)
    assert path.read_bytes() == b"two"
    with files.borrowed(path) as borrowed:
        assert borrowed.read_bytes() == b"two"
    assert files.newest_attempt() == 0


def test_the_first_file_of_a_study_in_a_bucket_finds_no_copy(tmp_path: Path, bucket: Bucket) -> None:
    files = BucketFiles(tmp_path / "studies" / "first", bucket, ID)
    path = files.folder / "warm_start.json"
    files.write(path, b"one")
    assert path.read_bytes() == b"one"
    path.unlink()
    files.keep(path)
    assert path.read_bytes() == b"one"


def test_a_deleted_study_is_gone(files: StudyFiles) -> None:
    files.write(files.folder / "study.yaml", b"one")
    files.write(files.folder / "attempt", b"1")
    files.delete()
    assert not files.folder.exists()
    files.keep(files.folder / "study.yaml")
    assert not (files.folder / "study.yaml").exists()


def test_messages_say_where_a_file_is_kept(tmp_path: Path, bucket: Bucket) -> None:
    path = tmp_path / "trials" / "mse-0000"
    kept = BucketFiles(tmp_path, bucket, ID)
    assert FolderFiles(tmp_path).where(path) == str(path)
    assert kept.where(path) == "s3://team/data/trials/mse-0000"
    assert kept.where(tmp_path) == "s3://team/data"
    assert FolderFiles(tmp_path).place(path) == FolderPlace(path)
    assert kept.place(path) == BucketPlace(bucket.below("trials/mse-0000"), ID)


def test_a_deletion_that_was_cut_short_leaves_nothing_to_the_next_study(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path / "studies" / "first")
    for folder in (files.folder, tmp_path / ".deleted-first"):
        folder.mkdir(parents=True)
        (folder / "study.yaml").write_text("")
    files.delete()
    assert list(tmp_path.rglob("*")) == [tmp_path / "studies"]


def test_the_copy_has_the_newest_opening_with_a_state(bucket: Bucket, tmp_path: Path) -> None:
    def opened(opening: Opening, *epochs: int, state: bool = True) -> None:
        run = bucket.below(f"trials/mse-0000/{opening}")
        run.write("config.yaml", str(opening).encode())
        for epoch in epochs:
            run.write(part_name(epoch), f"{epoch}\n".encode())
        if state:
            run.write("last.pt", b"state")

    files, run = BucketFiles(tmp_path, bucket, ID), tmp_path / "trials" / "mse-0000"
    opened(Opening(1, 1, ID), 1, 2)
    files.update()
    assert (run / "history.jsonl").read_text() == "1\n2\n"
    opened(Opening(1, 1, ID), 3)
    files.update_run(run)
    assert (run / "history.jsonl").read_text() == "1\n2\n3\n"
    opened(Opening(2, 1, ID), 1, state=False)
    opened(Opening(3, 1, "another"), 9)
    files.update()
    assert (run / "history.jsonl").read_text() == "1\n2\n3\n"
    opened(Opening(2, 1, ID), 4)
    files.update()
    assert (run / "history.jsonl").read_text() == "1\n4\n"
    assert (run / "config.yaml").read_text() == str(Opening(2, 1, ID))
    assert files.newest_attempt() == 2
    assert not (run / "last.pt").exists()
    shutil.rmtree(tmp_path / "trials")
