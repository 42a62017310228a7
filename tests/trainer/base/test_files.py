"""Files are written whole or not at all, and tell when they were damaged."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.base.files import (
    append_durably,
    check_seal,
    keep_as,
    make_folder,
    move,
    sealed,
    with_crc,
    without_crc,
    write_output,
    write_whole,
    written_output,
    written_whole,
)
from tests.trainer.samples import refusal


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_content_reaches_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    write_whole(path, b"old")
    seen: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_bytes()))
    write_whole(path, b"new")
    assert seen == [b"old", b"new"]  # the file first, its folder after the rename


def half(stream: IO[bytes]) -> None:
    stream.write(b"half of the n")
    raise ZeroDivisionError


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as stream:
        half(stream)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", [".", "..", "/", "made"])
def test_a_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("made").mkdir()
    with pytest.raises(OSError, match=r"directory|busy"):
        write_whole(Path(folder), b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_link_that_stands_where_the_temporary_file_will_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    (tmp_path / f".a.{os.getpid()}.tmp").symlink_to(elsewhere)
    write_whole(tmp_path / "a", b"new")
    assert elsewhere.read_bytes() == b"precious"


class TestOutputs:
    def test_a_file_is_replaced_whole_or_not_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        write_output(path, b"old")
        write_output(path, b"new")
        with pytest.raises(ZeroDivisionError), written_output(path) as stream:
            half(stream)
        assert path.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing yet"])
    def test_a_link_is_followed_and_stays(self, tmp_path: Path, there: bool) -> None:
        (tmp_path / "elsewhere").mkdir()
        target, link = tmp_path / "elsewhere" / "best.yaml", tmp_path / "latest"
        if there:
            target.write_bytes(b"old")
        link.symlink_to("elsewhere/best.yaml")
        write_output(link, b"new")
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
        assert sorted(tmp_path.rglob("*")) == sorted([tmp_path / "elsewhere", target, link])

    def test_a_pipe_takes_it_and_stays_a_pipe(self, tmp_path: Path) -> None:
        pipe, link = tmp_path / "pipe", tmp_path / "link"
        os.mkfifo(pipe)
        link.symlink_to(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        for path in (pipe, link):
            write_output(path, b"new")
            assert os.read(reader, 10) == b"new"
        os.close(reader)
        assert stat.S_ISFIFO(pipe.lstat().st_mode)
        assert sorted(tmp_path.iterdir()) == [link, pipe]

    @pytest.mark.parametrize("name", [".", "folder", "link"])
    def test_a_folder_is_no_output(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.chdir(tmp_path)
        Path("folder").mkdir()
        Path("link").symlink_to("folder")
        with pytest.raises(OSError, match="directory"):
            write_output(Path(name), b"new")
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "link"]


def test_what_is_appended_follows_what_is_there(tmp_path: Path) -> None:
    append_durably(tmp_path / "a", b"one\n")
    append_durably(tmp_path / "a", b"two\n")
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"


def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        append_durably(tmp_path / "a", b"x")
    assert (tmp_path / "b").read_bytes() == b""


def test_a_file_is_kept_under_another_name_when_its_own_is_replaced(tmp_path: Path) -> None:
    path, other = tmp_path / "last", tmp_path / "previous"
    keep_as(path, other)
    assert list(tmp_path.iterdir()) == []
    for content in (b"one", b"two", b"three"):
        keep_as(path, other)
        keep_as(path, other)  # a second time it is known by both names already
        write_whole(path, content)
    assert (path.read_bytes(), other.read_bytes()) == (b"three", b"two")
    assert sorted(tmp_path.iterdir()) == [path, other]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK], ids=errno.errorcode.get)
def test_a_disk_without_second_names_for_files_keeps_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    path, other = tmp_path / "last", tmp_path / "previous"
    for content in (b"one", b"two", b"three"):
        keep_as(path, other)
        write_whole(path, content)
    assert (path.read_bytes(), other.read_bytes()) == (b"three", b"two")
    assert sorted(tmp_path.iterdir()) == [path, other]


def test_another_failure_of_a_second_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", fail)
    write_whole(tmp_path / "last", b"one")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        keep_as(tmp_path / "last", tmp_path / "previous")


def test_folders_are_made_with_those_around_them_and_files_move_between_them(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    make_folder(folder)
    make_folder(folder)
    (folder / "file").write_bytes(b"x")
    move(folder / "file", tmp_path / "a" / "file")
    assert (tmp_path / "a" / "file").read_bytes() == b"x"
    assert list(folder.iterdir()) == []


class TestSeals:
    def test_a_seal_is_a_comment_with_the_sha_256_of_all_before_it(self, tmp_path: Path) -> None:
        text = sealed("a: 1\n")
        assert text == f"a: 1\n# sha256: {hashlib.sha256(b'a: 1' + bytes([10])).hexdigest()}\n"
        (tmp_path / "f").write_text(text)
        check_seal(tmp_path / "f")

    @pytest.mark.parametrize(
        "change", [str.upper, str.rstrip, lambda text: text + "\n", lambda _: "", lambda _: "a: 1\n"]
    )
    def test_any_change_is_refused(self, tmp_path: Path, change: Callable[[str], str]) -> None:
        path = tmp_path / "f"
        path.write_text(change(sealed("a: 1\n")))
        assert refusal(check_seal, path) == f"{path}: damaged or edited, it does not match the SHA-256 in its last line"

    def test_a_file_that_is_not_there_is_told_by_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        assert refusal(check_seal, path) == f"{path}: can not be read: No such file or directory"


class TestChecksumsOfLines:
    def test_the_checksum_is_the_last_field_of_the_object(self) -> None:
        assert with_crc('{"a": 1}') == '{"a": 1, "crc": 4221669015}'
        assert without_crc(b'{"a": 1, "crc": 4221669015}') == b'{"a": 1}'

    @given(data=st.data())
    def test_no_changed_byte_passes(self, data: st.DataObject) -> None:
        line = bytearray(with_crc('{"epoch": 12, "val/mrr": 0.3456789}').encode())
        line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
        assert without_crc(bytes(line)) is None

    @pytest.mark.parametrize("line", [b"", b"{}", b'{"a": 1}', b'{"a": 1, "crc": }'])
    def test_what_has_none_does_not_pass(self, line: bytes) -> None:
        assert without_crc(line) is None
