"""Checkpoints: written whole or not at all, known when damaged, and never executed."""

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.run.checkpoint import DamagedCheckpointError, load_checkpoint, save_checkpoint
from tests.trainer.samples import refusal

CONTENT = {
    "weights": torch.arange(12.0).view(3, 4),
    "epoch": 3,
    "best_value": -float("inf"),
    "end": None,
    "config": {"loss_fn": "cosine", "clip_norm": None, "lr": 1e-3},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "a.pt"
    save_checkpoint(path, CONTENT)
    return path


def same(found: dict[str, Any]) -> bool:
    rest = {name: value for name, value in found.items() if name != "weights"}
    return torch.equal(found["weights"], CONTENT["weights"]) and rest == {k: CONTENT[k] for k in rest} != {}


class TestReading:
    def test_what_was_saved_is_what_is_loaded(self, saved: Path) -> None:
        assert same(load_checkpoint(saved))

    def test_torch_load_opens_it_too(self, saved: Path) -> None:
        assert same(torch.load(saved, weights_only=True))

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "missing.pt"
        assert refusal(load_checkpoint, path) == f"checkpoint {path}: can not be read: No such file or directory"


class TestDamage:
    @given(st.data())
    def test_one_changed_byte_anywhere_is_noticed(self, saved: Path, data: st.DataObject) -> None:
        whole = saved.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.integers(1, 255))
        damaged = saved.with_name("damaged.pt")
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
        with pytest.raises(DamagedCheckpointError, match=r"damaged, its content does not match|cut short"):
            load_checkpoint(damaged)

    @given(st.data())
    def test_a_missing_tail_is_noticed(self, saved: Path, data: st.DataObject) -> None:
        whole = saved.read_bytes()
        damaged = saved.with_name("damaged.pt")
        damaged.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(DamagedCheckpointError, match="cut short, or not written by losstune"):
            load_checkpoint(damaged)

    def test_more_bytes_at_the_end_are_noticed(self, saved: Path) -> None:
        damaged = saved.with_name("damaged.pt")
        damaged.write_bytes(saved.read_bytes() + b"\n")
        with pytest.raises(DamagedCheckpointError, match="cut short"):
            load_checkpoint(damaged)

    def test_a_plain_torch_file_is_not_taken_for_one(self, tmp_path: Path) -> None:
        torch.save(CONTENT, tmp_path / "a.pt")
        message = f"checkpoint {tmp_path / 'a.pt'}: cut short, or not written by losstune"
        assert refusal(load_checkpoint, tmp_path / "a.pt") == message

    def test_the_message_names_the_file(self, saved: Path) -> None:
        damaged = saved.with_name("damaged.pt")
        whole = saved.read_bytes()
        damaged.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        message = f"checkpoint {damaged}: damaged, its content does not match its SHA-256"
        assert refusal(load_checkpoint, damaged) == message


class _Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def sealed(path: Path, payload: bytes) -> Path:
    """A file whose SHA-256 is right, whatever is in it."""
    path.write_bytes(payload + b"\nsha256:" + hashlib.sha256(payload).hexdigest().encode())
    return path


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
class TestForgery:
    def torch_file(self, content: object) -> bytes:
        stream = io.BytesIO()
        torch.save(content, stream)
        return stream.getvalue()

    def test_a_pickle_bomb_is_refused_and_not_executed(self, tmp_path: Path) -> None:
        trace = tmp_path / "executed"
        for payload in (self.torch_file({"weights": _Bomb(trace)}), pickle.dumps(_Bomb(trace))):
            path = sealed(tmp_path / "bomb.pt", payload)
            assert refusal(load_checkpoint, path).startswith(f"checkpoint {path}: can not be loaded: ")
            assert not trace.exists()

    def test_the_bomb_is_a_live_one(self, tmp_path: Path) -> None:
        trace = tmp_path / "executed"
        torch.load(io.BytesIO(self.torch_file({"weights": _Bomb(trace)})), weights_only=False)
        assert trace.exists()

    @pytest.mark.parametrize("payload", [b"", b"abc", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x80\x04."])
    def test_bytes_that_are_no_checkpoint_are_refused(self, tmp_path: Path, payload: bytes) -> None:
        path = sealed(tmp_path / "a.pt", payload)
        assert refusal(load_checkpoint, path).startswith(f"checkpoint {path}: can not be loaded: ")

    def test_what_holds_no_mapping_is_refused(self, tmp_path: Path) -> None:
        path = sealed(tmp_path / "a.pt", self.torch_file([1, 2]))
        assert refusal(load_checkpoint, path) == f"checkpoint {path}: holds list, not a checkpoint"


class TestWriting:
    def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.pt"
        save_checkpoint(path, CONTENT)

        def full_disk(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(path, {"weights": torch.zeros(1)})
        assert same(load_checkpoint(path))
        assert list(tmp_path.iterdir()) == [path]
