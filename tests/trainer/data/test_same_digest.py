"""The digest of pairs: what it was in 0.1.0 for all that loaded then, and the same in whatever form the pairs come."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from losstune.trainer.data.convert import convert
from losstune.trainer.data.pairs import load_pairs
from tests.trainer.data.test_folder import save_folder
from tests.trainer.data.test_formats import (
    write_fixed_size_parquet,
    write_json_lines,
    write_npz,
    write_parquet,
    write_safetensors,
)
from tests.trainer.samples import Arrays, refusal


def arrays_of(kind: str) -> Arrays:
    """Forty pairs by arithmetic alone, which no release of NumPy changes."""
    numbers = np.arange(40 * 6).reshape(40, 6)
    inputs = (numbers * 37 % 101 - 50) / np.float32(8)
    targets = ((numbers[:, :4] + 3) * 53 % 97 + 1) / np.float32(16)
    plain: Arrays = {"inputs": inputs.astype(np.float32), "targets": targets.astype(np.float32)}
    match kind:
        case "plain":
            return plain
        case "doubles":
            return {name: array.astype(np.float64) / 3 for name, array in plain.items()}
        case "int8":
            return {**plain, "inputs": (numbers * 37 % 101 - 50).astype(np.int8)}
        case "uint8":
            return {**plain, "inputs": (numbers * 37 % 101).astype(np.uint8)}
    split = np.array(["train", "train", "val", "test"] * 10)
    return {**plain, "ids": (np.arange(40) * 7 - 100).astype(np.int32), "split": split}


RECORDED = {
    "plain": "e655ec6c03216934b9469ab606f85228cd6f06ea5d393262638489f7c260f421",
    "doubles": "47b08c96ee6fcc888f6cd2171368632447c29115b32d19e963f3cb24599b9557",
    "int8": "54e50aa10ca5ca7ac8f30f2e6373c6dee03d8ae6f51153b583dedcd7092a76fa",
    "uint8": "4a4329429586cdb99e24072a36580b0d62e2c075377dd05abd41c0075062bbc5",
    "ids and split": "fc8e39fec5463c5391e24425dcecb2f47b898da9cb6b15a87902662ab3ba5684",
}
"""By losstune 0.1.0."""
FORMS: dict[str, Callable[[Path, Arrays], object]] = {
    "a.npz": write_npz,
    "a.safetensors": write_safetensors,
    "a.parquet": write_parquet,
    "b.parquet": write_fixed_size_parquet,
    "folder": save_folder,
}


@pytest.mark.parametrize("kind", RECORDED)
@pytest.mark.parametrize("name", FORMS)
def test_is_what_it_was_in_every_form(tmp_path: Path, name: str, kind: str) -> None:
    FORMS[name](tmp_path / name, arrays_of(kind))
    assert load_pairs(str(tmp_path / name)).digest == RECORDED[kind]


@pytest.mark.parametrize("kind", RECORDED)
def test_is_what_it_was_for_arrays_in_memory(kind: str) -> None:
    assert load_pairs(arrays_of(kind)).digest == RECORDED[kind]


def write_shards(path: Path, arrays: Arrays) -> None:
    """Two files, of which one has ids with a sign, and its columns in another order."""
    path.mkdir()
    write_parquet(path / "0.parquet", {name: array[:20] for name, array in arrays.items()})
    write_parquet(path / "1.parquet", {name: array[20:] for name, array in sorted(arrays.items())} | signed(arrays, 20))


def signed(arrays: Arrays, start: int) -> Arrays:
    return {name: arrays[name][start:].astype(np.int64) for name in ("ids", "negatives")}


@pytest.mark.parametrize(("name", "write"), [*FORMS.items(), ("a.jsonl", write_json_lines), ("shards", write_shards)])
def test_ids_of_64_bits_without_a_sign_are_the_same_in_every_form(
    tmp_path: Path, name: str, write: Callable[[Path, Arrays], object]
) -> None:
    """As hashes are; some are larger than int64 holds, and those of the last rows are not."""
    ids = np.random.default_rng(0).integers(0, 2**64, 40, dtype=np.uint64)
    ids[20:] >>= np.uint64(1)
    arrays: Arrays = {**arrays_of("plain"), "ids": ids, "negatives": ids[np.arange(80).reshape(40, 2) % 39]}
    write(tmp_path / name, arrays)
    convert([str(tmp_path / name)], tmp_path / "converted", "negatives=negatives")
    for source in (tmp_path / name, tmp_path / "converted"):
        found = load_pairs(source, "negatives=negatives")
        assert found.ids.tolist() == ids.astype(np.int64).tolist()
        assert found.digest == load_pairs(arrays, "negatives=negatives").digest


@pytest.mark.parametrize("role", ["ids", "groups"])
def test_two_numbers_of_the_same_64_bits_are_not_one(tmp_path: Path, role: str) -> None:
    """With a sign in one file, and without in another."""
    arrays = {name: array for name, array in arrays_of("plain").items() if name in ("inputs", "targets")}
    (tmp_path / "shards").mkdir()
    for name, rows, labels in (
        ("a", slice(20), np.arange(-1, 19)),
        ("b", slice(20, 40), np.uint64(2**64 - 1) - np.arange(20, dtype=np.uint64)),
    ):
        part = {given: array[rows] for given, array in arrays.items()}
        write_parquet(tmp_path / f"shards/{name}.parquet", {**part, role: labels})
    message = f"{tmp_path}/shards: {role} -1 and 18446744073709551615 have the same hash; rename one"
    assert refusal(load_pairs, tmp_path / "shards") == message
    assert refusal(convert, [str(tmp_path / "shards")], tmp_path / "out") == message
