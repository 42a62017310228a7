"""Which files of a folder hold rows: links, folders that datasets saved, and what is refused."""

import errno
import json
import os
from pathlib import Path

import pytest

from tests.trainer.data.test_shards import NAMES, loaded, part, same, written
from tests.trainer.samples import refusal


class TestLinks:
    def test_to_a_folder_are_followed(self, tmp_path: Path) -> None:
        """Their rows were left out, without a word."""
        for number, name in enumerate(sorted(NAMES)):
            written(tmp_path / f"{number}/0.parquet", part(20 * number, 20))
            (tmp_path / "data").mkdir(exist_ok=True)
            (tmp_path / f"data/{name}").symlink_to(tmp_path / str(number))
        same(loaded(tmp_path / "data"), ["test", "train", "val"])

    def test_to_a_folder_that_is_read_already_add_nothing(self, tmp_path: Path) -> None:
        for number in range(3):
            written(tmp_path / f"data/v{number}/0.parquet", part(20 * number, 20))
        (tmp_path / "data/latest").symlink_to(tmp_path / "data/v2")
        (tmp_path / "data/v1/up").symlink_to(tmp_path / "data")
        (tmp_path / "data/.hidden").symlink_to(tmp_path)
        same(loaded(tmp_path / "data"))

    @pytest.mark.parametrize("name", ["test", "test.parquet"])
    def test_that_lead_nowhere_are_refused(self, tmp_path: Path, name: str) -> None:
        """As to a disk that is not mounted: the rows of others were taken for all."""
        written(tmp_path / "train.parquet", part(0, 60))
        (tmp_path / name).symlink_to(tmp_path / "mounted" / name)
        (tmp_path / "README.md").symlink_to(tmp_path / "nowhere.md")
        assert refusal(loaded, tmp_path) == f"{tmp_path / name}: no such file"

    def test_to_one_folder_count_once(self, tmp_path: Path) -> None:
        written(tmp_path / "elsewhere/0.parquet", part(0, 60))
        (tmp_path / "data").mkdir()
        for name in "ab":
            (tmp_path / f"data/{name}").symlink_to(tmp_path / "elsewhere")
        same(loaded(tmp_path / "data"))

    def test_to_a_file_that_is_read_already_add_nothing(self, tmp_path: Path) -> None:
        for number in range(3):
            written(tmp_path / f"v{number}.parquet", part(20 * number, 20))
        (tmp_path / "latest.parquet").symlink_to(tmp_path / "v2.parquet")
        same(loaded(tmp_path))


class TestSavedByDatasets:
    def saved(self, folder: Path, first: int, count: int) -> None:
        """As ``Dataset.save_to_disk`` of datasets 5 writes it, with a cache beside."""
        for number in range(2):
            rows = part(first + number * count // 2, count // 2)
            written(folder / f"data-0000{number}-of-00002.arrow", rows)
        written(folder / "cache-0123456789abcdef.arrow", part(0, 5))
        names = [{"filename": f"data-0000{number}-of-00002.arrow"} for number in range(2)]
        (folder / "state.json").write_text(json.dumps({"_data_files": names, "_fingerprint": "0", "_split": None}))
        (folder / "dataset_info.json").write_text("{}")

    def test_one(self, tmp_path: Path) -> None:
        self.saved(tmp_path / "saved", 0, 60)
        same(loaded(tmp_path / "saved"))

    def test_several_splits(self, tmp_path: Path) -> None:
        for number, name in enumerate(NAMES):
            self.saved(tmp_path / name, 20 * number, 20)
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": list(NAMES)}))
        same(loaded(tmp_path), ["train", "val", "test"])

    def test_a_file_that_is_not_there_any_more(self, tmp_path: Path) -> None:
        self.saved(tmp_path, 0, 60)
        (tmp_path / "data-00001-of-00002.arrow").unlink()
        assert refusal(loaded, tmp_path) == f"{tmp_path}/data-00001-of-00002.arrow: no such file"

    def test_a_split_that_is_not_there_any_more(self, tmp_path: Path) -> None:
        self.saved(tmp_path / "train", 0, 60)
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
        message = (
            f"no such dataset, which {tmp_path}/dataset_dict.json lists; copy it too, or name the folder of one split"
        )
        assert refusal(loaded, tmp_path) == f"{tmp_path}/test: {message}"

    def test_damaged_notes(self, tmp_path: Path) -> None:
        (tmp_path / "state.json").write_text("{")
        assert refusal(loaded, tmp_path).startswith(f"{tmp_path}/state.json: not the JSON that datasets writes: ")


class TestRefused:
    def test_a_folder_without_data(self, tmp_path: Path) -> None:
        message = "holds no .npy files, and no .parquet, .pq, .arrow, .feather, .jsonl files of rows, here or below"
        assert refusal(loaded, tmp_path) == f"{tmp_path}: {message}"

    def test_a_folder_below_that_can_not_be_listed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its rows were left out, without a word."""
        written(tmp_path / "a/0.parquet", part(0, 20))
        written(tmp_path / "b/0.parquet", part(20, 20))
        listed = os.scandir

        def scandir(path: str) -> object:
            if Path(path).name == "b":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return listed(path)

        monkeypatch.setattr(os, "scandir", scandir)  # root may list all
        message = "can not be listed: Permission denied; a pattern leaves it out, --data 'folder/part-*.parquet'"
        assert refusal(loaded, tmp_path) == f"{tmp_path}/b: {message}"

    @pytest.mark.parametrize(("name", "pattern"), [("train.jsonl", ""), ("train.PQ", ""), ("train.jsonl", "/*")])
    def test_one_table_in_two_formats(self, tmp_path: Path, name: str, pattern: str) -> None:
        """Its rows came twice, in the last digits not the same: in training and in test."""
        written(tmp_path / name, part(0, 60))
        written(tmp_path / "train.parquet", part(0, 60))
        first, last = sorted((name, "train.parquet"))
        assert refusal(loaded, f"{tmp_path}{pattern}") == (
            f"{tmp_path}: by their names {first} and {last} are one table in two formats, and each of its rows would "
            f"come twice; a pattern takes one of them, --data '{tmp_path}/*{Path(last).suffix}'"
        )
        assert len(loaded(f"{tmp_path}/*{Path(last).suffix}").inputs) == 60

    @pytest.mark.parametrize("name", ["part-1.jsonl.gz", "part-1.PARQUET.zst"])
    def test_a_packed_file_beside_others(self, tmp_path: Path, name: str) -> None:
        """Its rows were left out, without a word."""
        written(tmp_path / "part-0.parquet", part(0, 60))
        (tmp_path / "notes.txt.gz").touch()
        assert len(loaded(tmp_path).inputs) == 60
        (tmp_path / name).touch()
        assert refusal(loaded, tmp_path) == (
            f"{tmp_path / name}: packed files are not read, and its rows would be left out; unpack it, or a pattern of "
            "others leaves it out, --data 'folder/*.parquet'"
        )
