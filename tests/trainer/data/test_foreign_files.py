"""The functions that errors and the docs show do read what such files hold.

Those for faiss 1.15.1 and LanceDB 0.40.0 were tried by hand on 2026-11-29.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
import torch

from losstune.trainer.data.foreign_files import FUNCTIONS
from losstune.trainer.data.pairs import load_pairs
from tests.test_docs import BLOCK, ROOT
from tests.trainer.samples import Arrays, refusal, sample_arrays


def write_fvecs(arrays: Arrays) -> None:
    for name, array in arrays.items():
        lengths = np.full((len(array), 1), array.shape[1], "<i4")
        np.hstack([lengths.view("<f4"), array]).astype("<f4").tofile(f"{name}.fvecs")


def write_fbin(arrays: Arrays) -> None:
    for name, array in arrays.items():
        Path(f"{name}.fbin").write_bytes(np.array(array.shape, "<u4").tobytes() + array.astype("<f4").tobytes())


def write_csv(arrays: Arrays) -> None:
    columns = {f"{name[:-1]}_{i}": column for name, array in arrays.items() for i, column in enumerate(array.T)}
    pd.DataFrame(columns).to_csv("pairs.csv")


def write_hdf5(arrays: Arrays) -> None:
    with h5py.File("pairs.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array


def write_json(arrays: Arrays) -> None:
    rows = zip(*(array.tolist() for array in arrays.values()), strict=True)
    Path("pairs.json").write_text(json.dumps([dict(zip(arrays, row, strict=True)) for row in rows]))


def write_torch(arrays: Arrays) -> None:
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, "pairs.pt")


WRITERS: dict[str, Callable[[Arrays], None]] = {
    ".fvecs": write_fvecs,
    ".fbin": write_fbin,
    ".h5": write_hdf5,
    ".json": write_json,
    ".csv": write_csv,
    ".pt": write_torch,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_function_that_the_error_shows_reads_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    WRITERS[suffix](sample_arrays(rows=20))
    told, _, function = refusal(load_pairs, f"pairs{suffix}").partition("\n")
    assert told == (
        f"--data pairs{suffix}: {suffix} files are not read, but a function of yours can read them: save this as "
        "my_data.py, with your names, and give --data my_data:pairs"
    )
    module = f"my_data_{suffix[1:]}"
    (tmp_path / f"{module}.py").write_text(function)
    found = load_pairs(f"{module}:pairs")
    np.testing.assert_allclose(found.inputs, sample_arrays(rows=20)["inputs"], rtol=1e-6)
    np.testing.assert_allclose(found.targets, sample_arrays(rows=20)["targets"], rtol=1e-6)


def test_other_endings_of_the_same_kinds() -> None:
    assert (FUNCTIONS[".hdf5"], FUNCTIONS[".pth"]) == (FUNCTIONS[".h5"], FUNCTIONS[".pt"])


@pytest.mark.parametrize("folder", ["pairs.lance", "database/pairs.lance"])
def test_a_folder_of_lance_s_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir(parents=True)
    source = folder.partition("/")[0]
    assert refusal(load_pairs, source) == (
        f"--data {source}: .lance files are not read, but a function of yours can read them: save this as my_data.py, "
        f"with your names, and give --data my_data:pairs\n{FUNCTIONS['.lance']}"
    )


class TestFunctionsOfTheDocs:
    """Each block named ``my_vectors.py`` of docs/own.md, called on files that the tools themselves write."""

    ARRAYS = sample_arrays(rows=40)

    @pytest.fixture(autouse=True)
    def _module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "my_vectors", raising=False)
        blocks = (body for _, body in BLOCK.findall((ROOT / "docs/own.md").read_text()))
        (tmp_path / "my_vectors.py").write_text(next(body for body in blocks if body.startswith("# my_vectors.py\n")))

    def test_hdf5_of_ann_benchmarks(self) -> None:
        base, queries = self.ARRAYS["targets"], self.ARRAYS["inputs"][:30]
        nearest = np.random.default_rng(0).permutation(40)[:30]
        with h5py.File("ann.hdf5", "w") as file:
            file["train"], file["test"] = base, queries
            file["neighbors"] = np.stack([nearest, nearest[::-1]], axis=1).astype(np.int32)
        pairs = load_pairs("my_vectors:hdf5")
        np.testing.assert_array_equal(pairs.inputs, queries)
        np.testing.assert_array_equal(pairs.targets, base[nearest])
        assert pairs.ids.tolist() == nearest.tolist()

    @pytest.mark.parametrize(("name", "write"), [("fvecs", write_fvecs), ("fbin", write_fbin)])
    def test_vectors_of_benchmarks(self, name: str, write: Callable[[Arrays], None]) -> None:
        write({"queries": self.ARRAYS["inputs"], "documents": self.ARRAYS["targets"]})
        assert load_pairs(f"my_vectors:{name}").digest == load_pairs(self.ARRAYS).digest

    def test_a_table_with_pgvector_s_text(self) -> None:
        engine = sa.create_engine("sqlite:///vectors.db")
        texts = {
            name: [json.dumps(row, separators=(",", ":")) for row in a.tolist()] for name, a in self.ARRAYS.items()
        }
        rows = {"id": range(40), "query": texts["inputs"], "document": texts["targets"]}
        pd.DataFrame(rows).sample(frac=1, random_state=0).to_sql("pairs", engine)
        engine.dispose()
        source = Path("my_vectors.py").read_text()
        Path("my_vectors.py").write_text(source.replace("postgresql+psycopg://localhost/mine", "sqlite:///vectors.db"))
        assert load_pairs("my_vectors:sql").digest == load_pairs({**self.ARRAYS, "ids": np.arange(40)}).digest

    @pytest.mark.slow
    def test_quantised_vectors_of_sentence_transformers(self) -> None:
        from sentence_transformers.util.quantization import quantize_embeddings

        targets = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
        whole = quantize_embeddings(self.ARRAYS["inputs"], precision="int8")
        np.save("queries-int8.npy", whole)
        np.save("documents-ubinary.npy", quantize_embeddings(targets, precision="ubinary"))
        pairs = load_pairs("my_vectors:quantised")
        assert pairs.bytes_in_memory == whole.nbytes + pairs.targets[:].nbytes + pairs.ids.nbytes
        np.testing.assert_array_equal(pairs.inputs[:], whole)
        np.testing.assert_array_equal(pairs.targets, np.where(targets > 0, 1, -1))

    def test_two_files_joined_by_id(self) -> None:
        answers = [f"doc-{row % 25}" for row in range(40)]
        pd.DataFrame({"query": list(self.ARRAYS["inputs"]), "answer": answers}).to_parquet("queries.parquet")
        documents = {"id": [f"doc-{row}" for row in range(40)], "document": list(self.ARRAYS["targets"])}
        pd.DataFrame(documents).sample(frac=1, random_state=0).to_parquet("documents.parquet")
        pairs = load_pairs("my_vectors:joined")
        np.testing.assert_array_equal(pairs.inputs, self.ARRAYS["inputs"])
        np.testing.assert_array_equal(pairs.targets, self.ARRAYS["targets"][[row % 25 for row in range(40)]])
        assert len(np.unique(pairs.ids)) == 25

    def test_each_has_a_test_or_was_tried_by_hand(self) -> None:
        functions = re.findall(r"^def (\w+)", Path("my_vectors.py").read_text(), re.MULTILINE)
        by_hand = {"faiss_indexes", "lance"}
        assert set(functions) - by_hand == {"hdf5", "fvecs", "fbin", "sql", "quantised", "joined"}
