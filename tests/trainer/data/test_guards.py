"""What a file may take: the words for damage, for too much, and for too little memory."""

from pathlib import Path

import numpy as np
import pytest

from losstune.trainer.data import guards
from losstune.trainer.data.guards import bounded, check_size, readable
from losstune.trainer.data.remedies import ON_DISK
from tests.trainer.samples import refusal


def test_whatever_a_library_stumbles_over_is_one_line(tmp_path: Path) -> None:
    def read() -> None:
        with readable(tmp_path / "a.npz"):
            raise OverflowError("first\nsecond")

    assert refusal(read) == f"{tmp_path}/a.npz: not a readable .npz file: first"


def test_more_memory_than_a_small_file_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "SMALL", 64 * 1024 * 1024)

    def read() -> None:
        with bounded(tmp_path / "a.parquet", 100):
            np.empty(200 * 1024 * 1024, np.uint8)

    message = "its 100 bytes take more than 67,108,864 bytes of memory"
    assert refusal(read) == f"{tmp_path}/a.parquet: not a readable .parquet file: {message}"


@pytest.mark.parametrize(("size", "claimed"), [(10, 2000), (None, 1000)])
def test_what_a_file_may_claim(tmp_path: Path, size: int | None, claimed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "SMALL", 100)
    path = tmp_path / "a.npz"
    path.write_bytes(b"12345")
    check_size(path, claimed, size)
    assert f"would unpack to {claimed + 1:,}, more than 200 times" in refusal(check_size, path, claimed + 1, size)


def test_what_memory_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "free_memory", lambda: 1000)
    path = tmp_path / "a.npz"
    path.write_bytes(b"12345")
    message = f"{path}: its arrays take 1,001 bytes of memory, and 1,000 are free{ON_DISK}"
    assert refusal(check_size, path, 1001) == message
