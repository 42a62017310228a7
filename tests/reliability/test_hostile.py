"""Hostile files: one clear error, no code run, memory and time bounded, nothing outside touched."""

import base64
import hashlib
import io
import json
import os
import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import save

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import sealed as sealed_text
from losstune.trainer.base.files import write_whole
from losstune.trainer.base.memory import free_memory
from losstune.trainer.base.yaml_file import dump_yaml, parse_yaml, read_yaml
from losstune.trainer.data.pairs import load_pairs, make_pairs
from losstune.trainer.data.remedies import ON_DISK
from losstune.trainer.run.checkpoint import load_checkpoint, save_checkpoint
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.trained_model import load_model
from losstune.tuning.space.reader import load_space, read_space
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, create_study
from tests.conftest import Command
from tests.reliability.damage import Change, changes
from tests.running import sized
from tests.trainer.samples import refusal, sample_arrays, sample_config, sample_pairs, sample_trainer
from tests.tuning.samples import settings_of, used_up

MIB = 1024 * 1024
LIE = """
UEFSMRUEFQgVGkwVAhUAEgAAKLUv/SAEIQAAAAAAABUAFTQVRiwVgISvXxUQFQYVBhwAAAAotS/9IBrRAAAHAAAAA/7wg69fAQUAAACAhK9fAw
GAhK9fABUEFQgVGkwVAhUAEgAAKLUv/SAEIQAAAAAAABUAFTQVRiwVgISvXxUQFQYVBhwAAAAotS/9IBrRAAAHAAAAA/7wg69fAQUAAACAhK9f
AwGAhK9fABUEGXw1ABgGc2NoZW1hFQQANQIYBmlucHV0cxUCFQZMPAAAADUEGARsaXN0FQIAFQglAhgHZWxlbWVudAA1AhgHdGFyZ2V0cxUCFQ
ZMPAAAADUEGARsaXN0FQIAFQglAhgHZWxlbWVudAAWAhkcGSwmABwVCBk1AAYQGTgGaW5wdXRzBGxpc3QHZWxlbWVudBUMFpSAgAAWhAEWqAEm
PiYIKSwVBBUAFQIAFQAVEBUCADwpJrBf0KSuXxlGAAAAlICAAAAAACYAHBUIGTUABhAZOAd0YXJnZXRzBGxpc3QHZWxlbWVudBUMFpSAgAAWhA
EWqAEm5gEmsAEpLBUEFQAVAgAVABUQFQIAPCkmsF/QpK5fGUYAAACUgIAAAAAAFogCFgImCBbQAgAZHBgMQVJST1c6c2NoZW1hGOACLy8vLy93
QUJBQUFRQUFBQUFBQUtBQXdBQmdBRkFBZ0FDZ0FBQUFBQkJBQU1BQUFBQ0FBSUFBQUFCQUFJQUFBQUJBQUFBQUlBQUFCZ0FBQUFCQUFBQUhqLy
8vOEFBQUVNRkFBQUFCd0FBQUFFQUFBQUFRQUFBQlFBQUFBSEFBQUFkR0Z5WjJWMGN3Q28vLy8vcFAvLy93QUFBUU1RQUFBQUdBQUFBQVFBQUFB
QUFBQUFCQUFBQUdsMFpXMEFBQUFBbHYvLy93QUFBUURRLy8vL0FBQUJEQlFBQUFBZ0FBQUFCQUFBQUFFQUFBQW9BQUFBQmdBQUFHbHVjSFYwY3
dBQUJBQUVBQVFBQUFBUUFCUUFDQUFHQUFjQURBQUFBQkFBRUFBQUFBQUFBUU1RQUFBQUhBQUFBQVFBQUFBQUFBQUFCQUFBQUdsMFpXMEFBQVlB
Q0FBR0FBWUFBQUFBQUFFQQAYIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjUuMC4xGSwcAAAcAAAAyQIAAFBBUjE=
"""
"""893 bytes of Parquet: two columns of one list with 100,000,000 zeros each, and a footer that says 10."""


def npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def npz_of_zeros(path: Path, count: int, method: int = zipfile.ZIP_DEFLATED) -> None:
    """Honest headers; ``count`` float32 zeros, a thousandth of their size on disk."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in ("inputs", "targets"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(npy_header((count, 1)))
                for start in range(0, count, MIB):
                    member.write(bytes(4 * min(MIB, count - start)))


def npz_that_claims(path: Path, count: int) -> None:
    """Header and archive agree on a size of which the file holds nothing."""
    header = npy_header((count, 1))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs.npy", header)
        archive.infolist()[0].file_size = len(header) + 4 * count


def npz_overlapping(path: Path, count: int) -> None:
    """Many members that share one stream of zeros."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = npy_header((8 * MIB, 1)) + bytes(32 * MIB)
    body = packed.compress(content) + packed.flush()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"")
        first = archive.infolist()[0]
        start = archive.fp.tell() if archive.fp else 0
        archive.fp.write(body)  # type: ignore[union-attr]
        archive.start_dir = start + len(body)
        first.compress_type, first.compress_size = zipfile.ZIP_DEFLATED, len(body)
        first.file_size, first.CRC = len(content), zlib.crc32(content)
        for index in range(count):
            twin = zipfile.ZipInfo(f"b{index}.npy")
            for name in ("compress_type", "compress_size", "file_size", "CRC", "header_offset"):
                setattr(twin, name, getattr(first, name))
            archive.filelist.append(twin)


def parquet_of_long_text(path: Path) -> None:
    """A word of a megabyte, once in the file and 50,000 times in the column."""
    rows = 50_000
    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * MIB]))
    ones = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(rows, np.float32)), 1)
    pq.write_table(pa.table({"inputs": ones, "targets": ones, "split": word}), path, compression="zstd")


def sealed(path: Path, payload: bytes) -> None:
    """A checkpoint whose SHA-256 is right, whatever is in it."""
    path.write_bytes(payload + b"\nsha256:" + hashlib.sha256(payload).hexdigest().encode())


def torch_bytes(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def checkpoint_of_zeros(path: Path, count: int) -> None:
    """A checkpoint packed by deflate, which torch unpacks although it never packs."""
    stored = zipfile.ZipFile(io.BytesIO(torch_bytes({"state": torch.zeros(count)})))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    sealed(path, stream.getvalue())


def pickled(*pieces: bytes) -> bytes:
    """A torch file whose pickle is given by its opcodes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"".join(pieces) + b".")
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def sparse(path: Path, size: int, start: bytes = b"", end: bytes = b"") -> None:
    """A file of any size that takes no room."""
    with path.open("wb") as stream:
        stream.write(start)
        stream.seek(size - len(end))
        stream.write(end or b"\0")


def safetensors(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def make_bombs(folder: Path) -> list[str]:
    """Small files that would take gigabytes; returns their names."""
    huge = 4 * free_memory()
    npz_of_zeros(folder / "deflated.npz", 64 * MIB)
    npz_that_claims(folder / "claims.npz", 10**11)
    npz_overlapping(folder / "overlapping.npz", 2000)
    parquet_of_long_text(folder / "text.parquet")
    (folder / "lie.parquet").write_bytes(base64.b64decode(LIE))
    header = safetensors({"inputs": {"dtype": "U8", "shape": [huge], "data_offsets": [0, huge]}})
    sparse(folder / "sparse.safetensors", len(header) + huge, header)
    (folder / "long.safetensors").write_bytes(struct.pack("<Q", 99_000_000) + b"[" * 1000)
    checkpoint_of_zeros(folder / "deflated.pt", 160 * MIB)
    sealed(folder / "bytearray.pt", pickled(b"c__builtin__\nbytearray\n", b"\x8a\x05\x00\x00\x00\x00\x02", b"\x85R"))
    wide = {"config": sample_config().flat(), "input_shape": [50 * MIB], "input_dtype": "float32", "output_dim": 5}
    sealed(folder / "model.pt", torch_bytes({**wide, "model": {}}))
    sparse(folder / "sparse.pt", huge, end=b"\nsha256:" + b"0" * 64)
    (folder / "values.yaml").write_text("a: [" + "1," * 490_000 + "1]")
    (folder / "nested.yaml").write_text("a:\n" + "  - - - - - - - 1\n" * 50_000)
    return sorted(path.name for path in folder.iterdir() if path.name != "sparse.pt")  # hashing it takes its time


MEASURE = """
import json, sys, time
from pathlib import Path
from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.base.errors import UserError
from losstune.trainer.run.trained_model import load_model
from losstune.trainer.base.yaml_file import read_yaml
import pyarrow.parquet, safetensors.torch

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

results = {}
for name in sys.argv[1:]:
    read = {".pt": load_checkpoint, ".yaml": read_yaml}.get(Path(name).suffix, lambda path: load_pairs(str(path)))
    read = load_model if name == "model.pt" else read
    before, began = peak(), time.process_time()
    try:
        read(Path(name))
        said = "nothing"
    except UserError as error:
        said = str(error)
    results[name] = [said, peak() - before, time.process_time() - began]
print(json.dumps(results))
"""


@pytest.mark.torture
def test_a_bomb_is_refused_in_little_memory_and_time(tmp_path: Path) -> None:
    bombs = make_bombs(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *bombs], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    results = json.loads(done.stdout)
    for name, (said, memory, seconds) in results.items():
        assert name in said, f"{name}: {said}"
        assert len(said.splitlines()) == 1, said
        assert memory < 400 * MIB, f"{name} took {memory / MIB:.0f} MiB"
        assert seconds < 30, f"{name} took {seconds:.0f} s"


def test_data_that_memory_can_not_hold_is_refused_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **sample_arrays(rows=20))
    monkeypatch.setattr("losstune.trainer.data.guards.free_memory", lambda: 1000)
    claimed = sum(array.nbytes + 128 for array in sample_arrays(rows=20).values())
    assert refusal(load_pairs, str(path)) == (
        f"{path}: its arrays take {claimed:,} bytes of memory, and 1,000 are free{ON_DISK}"
    )


@pytest.mark.torture
def test_large_honest_data_is_read(tmp_path: Path) -> None:
    """Half a gigabyte of zeros uncompressed, and compressed data that shrinks by less than the limit."""
    flat, packed = tmp_path / "flat.npz", tmp_path / "packed.npz"
    with zipfile.ZipFile(flat, "w") as archive:
        for name, width in (("inputs", 64), ("targets", 1)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(npy_header((2 * MIB, width)))
                for _ in range(64):
                    member.write(np.ones((MIB // 32, width), np.float32).tobytes())
    assert load_pairs(str(flat)).inputs.nbytes == 512 * MIB
    rng = np.random.default_rng(0)
    inputs = np.zeros((200_000, 500), np.uint8)
    inputs[np.arange(200_000), rng.integers(0, 500, 200_000)] = 1
    np.savez_compressed(packed, inputs=inputs, targets=rng.normal(size=(200_000, 4)).astype(np.float32))
    assert load_pairs(str(packed)).inputs.sum() == 200_000


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_numpy_does_not_write_is_refused(tmp_path: Path, method: int) -> None:
    """Python unpacks these methods by pieces of any size: 4 kB of bzip2 can be 90 MB."""
    npz_of_zeros(tmp_path / "a.npz", 100, method)
    said = (
        f"{tmp_path / 'a.npz'}: array 'inputs' is compressed in a way that NumPy does not write"
        "; save it with numpy.savez_compressed"
    )
    assert refusal(load_pairs, str(tmp_path / "a.npz")) == said


def test_one_long_word_does_not_make_all_words_long() -> None:
    rows = 50_000
    arrays: Any = sample_arrays(rows=rows)
    arrays["split"] = np.array(["train"] * (rows - 1) + ["x" * MIB], dtype=object)
    message = f"source: split row {rows - 1} is {'x' * 40!r}; allowed: train, val (or validation, valid, dev), test: "
    message += f"frame['split'].replace({'x' * 40!r}, 'train')"
    assert refusal(make_pairs, arrays, "source") == message


class _Trap:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def object_npy(trace: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([_Trap(trace)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def write_traps(folder: Path, trace: Path) -> None:
    np.savez(folder / "a.npz", inputs=np.array([_Trap(trace)], dtype=object), allow_pickle=True)
    (folder / "b.npz").write_bytes(pickle.dumps(_Trap(trace)))
    (folder / "c.npz").write_bytes(object_npy(trace))
    (folder / "d.safetensors").write_bytes(pickle.dumps(_Trap(trace)))
    (folder / "e.parquet").write_bytes(pickle.dumps(_Trap(trace)))
    sealed(folder / "f.pt", torch_bytes({"config": _Trap(trace)}))
    sealed(folder / "g.pt", pickle.dumps(_Trap(trace)))
    (folder / "h.yaml").write_text(f"a: !!python/object/apply:pathlib.Path.touch ['{trace}']\n")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_file_runs_code(tmp_path: Path, losstune: Command) -> None:
    trace = tmp_path / "executed"
    write_traps(Path(), trace)
    for path in sorted(Path().iterdir()):
        arguments = {
            ".pt": ["predict", "--checkpoint", path, "--data", "digits", "--output", "p.npy"],
            ".yaml": ["launch", path, "--study", "s"],
        }.get(path.suffix, ["train", "--data", path])
        one_clear_error(losstune(*arguments), path.name)
    assert not trace.exists()
    assert not Path("studies").exists()
    pickle.loads(pickle.dumps(_Trap(trace)))
    assert trace.exists()  # the trap is a live one


def one_clear_error(ended: Any, *words: str) -> None:
    assert ended.code == 2, ended
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err
    assert ended.err.isprintable() or ended.err[:-1].isprintable()
    assert all(word in ended.err for word in words), ended.err


NAMES = ["../../x", "..", ".", "a/b", "/tmp/x", "a\0b", "-x", "a" * 65, "a\nb", "\x1b[2J", "", " ", "é"]


@pytest.mark.parametrize("name", NAMES)
def test_a_study_name_is_a_plain_word(losstune: Command, name: str) -> None:
    for arguments in (
        ("launch", "mse", f"--study={name}"),
        *((command, "--", name) for command in ("status", "sync", "compare")),
        ("delete", "--yes", "--", name),
    ):
        if name or arguments[0] != "launch":
            one_clear_error(losstune(*arguments), "study name")
    assert list(Path().iterdir()) == []


def test_names_in_a_file_do_not_steer_the_terminal(losstune: Command) -> None:
    np.savez("a.npz", **{"\x1b[2Jgone": np.ones((3, 3))})
    one_clear_error(losstune("train", "--data", "a.npz"), "\\x1b[2Jgone")


# Data types and shapes


DTYPES = ["?", "i1", "u1", "i8", "u8", "f2", "f4", "f8", "g", "F", "D", "S5", "U5", "V8", "M8[s]", "m8[s]", "M8"]
DTYPES += ["V0", "S0", "U0", "f4,i4", "(2,)f4", ">f4", ">i8"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("array", ["inputs", "targets", "ids", "split"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("byte", [b"\0", b"\x01", b"\x7f", b"\xff"])
def test_arrays_of_any_type_are_taken_or_refused(array: str, dtype: str, byte: bytes) -> None:
    arrays = {**sample_arrays(rows=6), "ids": np.arange(6), "split": np.array(["train"] * 6)}
    raw = np.zeros(arrays[array].shape, dtype)
    arrays[array] = np.frombuffer(byte * raw.nbytes, raw.dtype).reshape(raw.shape) if raw.nbytes else raw
    try:
        make_pairs(arrays, "source")
    except UserError as error:
        assert str(error).startswith("source: ")  # noqa: PT017 - some are fine


# Checkpoints with the right SHA-256 and the wrong content


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("run")
    trainer = sample_trainer(sample_config(num_epochs=3))
    RunDirectory(folder).start(trainer.config)
    RunDirectory(folder).save(trainer, [trainer.run_epoch()])
    np.savez(folder / "pairs.npz", **sample_arrays())
    return folder


def changed(content: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A checkpoint with one entry replaced, or removed where the value is the class ``type``."""
    name, *rest = path
    if rest:
        return {**content, name: changed(content[name], tuple(rest), value)}
    return {key: x for key, x in {**content, name: value}.items() if key != name or value is not type}


PATHS: list[tuple[str, ...]] = [
    ("config",),
    ("config", "model.hidden_dim"),
    ("config", "loss_fn"),
    ("state",),
    ("state", "model"),
    ("state", "optimizer"),
    ("state", "loss"),
    ("state", "epoch"),
    ("state", "best_epoch"),
    ("state", "best_value"),
    ("input_shape",),
    ("input_dtype",),
    ("output_dim",),
    ("data_digest",),
]
VALUES: list[object] = [type, None, 10**12, -1, 1.5, "x", [], {}, {1: 2}, [10**9, 10**3], torch.zeros(2)]


@pytest.mark.torture
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("path", PATHS, ids="/".join)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
def test_a_forged_checkpoint_is_taken_or_refused(
    run: Path, losstune: Command, path: tuple[str, ...], value: object
) -> None:
    shutil.copytree(run, "run")
    save_checkpoint(Path("run/last.pt"), changed(load_checkpoint(run / "last.pt"), path, value))
    before = {file.name for file in Path("run").iterdir()}
    for arguments in (
        ("predict", "--checkpoint", "run/last.pt", "--data", "run/pairs.npz", "--output", "p.npy"),
        ("train", "--resume", "--output_dir", "run", "--data", "run/pairs.npz"),
    ):
        ended = losstune(*arguments)
        assert ended.code in (0, 2), ended
        assert "Traceback" not in ended.err
    assert {file.name for file in Path("run").iterdir()} >= before


# Studies


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one study of one trial."""
    folder = tmp_path_factory.mktemp("studies")
    space = load_space("mse")
    study = create_study(Home(folder), "one", [space], settings_of(), "digits", load_pairs("digits").digest)
    trials = LossTrials(study.storage(), "mse", space)
    trials.end(trials.add(space.start[0], seed=0), used_up())
    trainer = sample_trainer(sample_config("mse", num_epochs=1))
    run_folder = RunDirectory(study.trials_folder / "mse-0000")
    run_folder.start(trainer.config)
    run_folder.save(trainer, [trainer.run_epoch()])
    study.next_attempt()
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage:
        storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it in one file
    return folder


COMMANDS: list[tuple[str, ...]] = [
    ("status", "one"),
    ("list",),
    ("compare", "one"),
    ("export", "one", "--output", "out.yaml"),
    ("sync", "one"),
    ("confirm", "one"),
    ("launch", "mse", "--study", "one"),
    ("delete", "one", "--yes"),
]
ONE = Path("studies/one")


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


LINKED = [
    "optuna.db",
    "study.yaml",
    ".lock",
    "tracker.log",
    ".tracker",
    "attempt",
    "report.html",
    "trials",
    "trials/mse-0000",
    "trials/mse-0000/history.jsonl",
    "trials/mse-0000/config.yaml",
    "trials/mse-0000/best.pt",
    "trials/mse-0000/.best.pt.1.tmp",
    "confirm",
    ".",
]


@pytest.mark.parametrize("linked", LINKED)
def test_a_link_out_of_a_study_is_not_followed(root: Path, tmp_path: Path, losstune: Command, linked: str) -> None:
    shutil.copytree(root / "studies", "studies")
    link, target = (ONE / linked).absolute(), tmp_path / "outside"
    if link.exists():
        shutil.move(link, target)
    else:
        target.write_text("precious")
    link.symlink_to(target)
    before = snapshot(tmp_path)
    for command in COMMANDS:
        one_clear_error(losstune(*command), "is a link")
        assert snapshot(tmp_path) == before, command
    assert link.is_symlink()


def test_a_pipe_in_a_study_holds_nothing_up(root: Path, losstune: Command) -> None:
    shutil.copytree(root / "studies", "studies")
    (ONE / "study.yaml").unlink()
    os.mkfifo(ONE / "study.yaml")
    for command in COMMANDS:
        one_clear_error(losstune(*command), "is not a file")


def test_a_new_study_is_not_written_through_a_link(tmp_path: Path, losstune: Command) -> None:
    (tmp_path / "outside").mkdir()
    ONE.mkdir(parents=True)
    (ONE / "trials").symlink_to(tmp_path / "outside")
    one_clear_error(losstune("launch", "mse", "--study", "one"), "is a link")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_is_not_written_through_a_link_in_place_of_its_temporary(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / f".a.{os.getpid()}.tmp").symlink_to(outside)
    (tmp_path / "a").symlink_to(outside)
    write_whole(tmp_path / "a", b"new")
    assert outside.read_text() == "precious"
    assert (tmp_path / "a").read_bytes() == b"new"


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    return lambda content: resealed(content.replace(old.encode(), new.encode(), 1))


def resealed(content: bytes) -> bytes:
    """With a right checksum, as anyone can give it: it shows damage, not malice."""
    return sealed_text(content.decode().rpartition("# sha256")[0] or content.decode()).encode()


FORGED: list[tuple[str, str, Callable[[bytes], bytes], str]] = [
    ("the name of another", "study.yaml", replaced("name: one", "name: two"), "name: found 'two'"),
    ("a name that leads out", "study.yaml", replaced("name: one", "name: ../../x"), "name"),
    (
        "a loss that leads out",
        "study.yaml",
        replaced("\n  mse:", "\n  ../../x:"),
        "spaces → ../../x: loss_fn: found 'mse'",
    ),
    ("a loss with another's space", "study.yaml", replaced("\n  mse:", "\n  cosine:"), "found 'mse'"),
    ("no text", "study.yaml", lambda _: b"\xff\0", "damaged or edited"),
    ("a bomb", "study.yaml", lambda _: resealed(b"a: &a [x]\nb: [*a, *a]\n"), "anchors and aliases"),
    ("deep nesting", "study.yaml", lambda _: resealed(b"a: " + b"[" * 900_000 + b"\n"), "nested deeper"),
    ("a storage that is none", "optuna.db", lambda _: b"garbage" * 1000, "optuna.db: "),
    ("a pickle for a storage", "optuna.db", lambda _: pickle.dumps(_Trap(Path("executed"))), "optuna.db: "),
    ("half a storage", "optuna.db", lambda content: content[: len(content) // 3], "optuna.db: "),
]


@pytest.mark.parametrize(("file", "forge", "said"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED])
def test_a_forged_study_is_one_clear_error(
    root: Path, losstune: Command, file: str, forge: Callable[[bytes], bytes], said: str
) -> None:
    shutil.copytree(root / "studies", "studies")
    shutil.copytree(root / "studies/one", "studies/two")  # must not be hit in place of the other
    (ONE / file).write_bytes(forge((ONE / file).read_bytes()))
    before = snapshot(Path("studies/two"))
    for command in (("status", "one"), ("export", "one", "--output", "out.yaml"), ("confirm", "one")):
        one_clear_error(losstune(*command), said)
    if file == "study.yaml":
        one_clear_error(losstune("delete", "one", "--yes"), said)
    assert snapshot(Path("studies/two")) == before
    assert not Path("executed").exists()


def test_a_confirmation_that_leads_out_is_refused(root: Path, losstune: Command) -> None:
    shutil.copytree(root / "studies", "studies")
    arm = {"loss_fn": "mse", "role": "candidate", "settings": {}, "search_value": 0.5, "name": "../../../../x-0000"}
    plan = {"number": 1, "created": "x", "top": 1, "seeds": 1, "split_given": False, "arms": [arm], "starts": {}}
    (ONE / "confirm/1").mkdir(parents=True)
    (ONE / "confirm/1/plan.yaml").write_text(sealed_text(dump_yaml({**plan, "versions": {}})))
    one_clear_error(losstune("compare", "one"), "arms.0.name")


# Damage without a plan


def damaged_examples(examples: int) -> Callable[..., Any]:
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)


def npz_bytes(save: Callable[..., None]) -> bytes:
    stream = io.BytesIO()
    save(stream, **sample_arrays(rows=4, width=2, dims=2), ids=np.arange(4), split=np.array(["train", "val"] * 2))
    return stream.getvalue()


def parquet_bytes() -> bytes:
    stream = io.BytesIO()
    columns = {name: pa.array(list(array)) for name, array in sample_arrays(rows=4, width=2, dims=2).items()}
    pq.write_table(pa.table({**columns, "split": ["train", "val"] * 2}), stream)
    return stream.getvalue()


def safetensors_bytes() -> bytes:
    arrays = {**sample_arrays(rows=4, width=2, dims=2), "split": np.array([0, 1, 2, 0])}
    return save({name: torch.from_numpy(array) for name, array in arrays.items()})


def checkpoint_bytes() -> bytes:
    trainer = sample_trainer(sample_config(num_epochs=1, **{"model.hidden_dim": 4}), sample_pairs(width=2, dims=2))
    trainer.run_epoch()
    about = {"config": trainer.config.flat(), "input_shape": [2], "input_dtype": "float32", "output_dim": 2}
    return torch_bytes({**about, "model": trainer.model.state_dict()})


def read_data(path: Path) -> None:
    load_pairs(str(path))


def read_sealed(path: Path) -> None:
    sealed(path, path.read_bytes())
    load_model(path)


SPACE = """\
loss_fn: infonce
start:
  - {temperature: 0.07, batch_size: 64}
space:
  temperature: {low: 1.0e-2, high: 1.0, log: true}
  batch_size: {choices: [32, 64, 128]}
  schedule: {choices: [constant, cosine]}
  warmup_epochs: {low: 1, high: 5, int: true, when: {schedule: cosine}}
derived: {weight_decay: temperature * 0.01}
fixed: {model.depth: 2}
study: {max_epochs: 9, epochs_per_loss: 90}
"""
KINDS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "npz": ("a.npz", lambda: npz_bytes(np.savez), read_data),
    "compressed npz": ("a.npz", lambda: npz_bytes(np.savez_compressed), read_data),
    "safetensors": ("a.safetensors", safetensors_bytes, read_data),
    "parquet": ("a.parquet", parquet_bytes, read_data),
    "yaml": ("a.yaml", SPACE.encode, lambda path: read_space(read_yaml(path))),
    "checkpoint": ("a.pt", checkpoint_bytes, read_sealed),
}
VALID = {kind: make() for kind, (_, make, _) in KINDS.items()}


def read_damaged(kind: str, folder: Path, change: Change) -> None:
    name, _, read = KINDS[kind]
    (folder / name).write_bytes(change(VALID[kind]))
    began = time.process_time()  # which a busy machine does not change
    try:
        read(folder / name)
    except UserError as error:
        assert name in str(error)  # noqa: PT017 - not every damage must be refused
    assert time.process_time() - began < 10


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
class TestDamage:
    def test_the_file_is_valid_before(self, kind: str, tmp_path: Path) -> None:
        name, _, read = KINDS[kind]
        (tmp_path / name).write_bytes(VALID[kind])
        read(tmp_path / name)

    @damaged_examples(60)
    @given(change=changes())
    def test_a_damaged_file_is_read_or_refused(self, kind: str, tmp_path: Path, change: Change) -> None:
        read_damaged(kind, tmp_path, change)

    @pytest.mark.torture
    @damaged_examples(sized(1500, 300))
    @given(change=changes())
    def test_a_damaged_file_is_read_or_refused_whatever_the_damage(
        self, kind: str, tmp_path: Path, change: Change
    ) -> None:
        read_damaged(kind, tmp_path, change)


@pytest.mark.torture
@damaged_examples(sized(200, 50))
@given(change=changes())
def test_a_damaged_storage_is_read_or_refused(root: Path, tmp_path: Path, change: Change) -> None:
    shutil.rmtree(tmp_path / "studies", ignore_errors=True)
    shutil.copytree(root / "studies", tmp_path / "studies")
    path = tmp_path / ONE / "optuna.db"
    path.write_bytes(change(path.read_bytes()))
    study = Study(Home(tmp_path), spec_of(root))
    try:
        study.trials()
        study.dropped()
    except UserError as error:
        assert "optuna.db" in str(error)  # noqa: PT017 - not every damage must be refused


def spec_of(root: Path) -> Any:
    from losstune.tuning.study.study import open_study

    return open_study(Home(root), "one").spec


def test_yaml_of_the_study_survives_its_own_reader() -> None:
    assert parse_yaml(SPACE, "a.yaml").data["loss_fn"] == "infonce"
