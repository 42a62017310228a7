"""The functions that an error shows do read what such files hold; that of HDF5, by hand: h5py 3.16.0, 2026-11-28."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from losstune.trainer.data.foreign_files import FUNCTIONS
from losstune.trainer.data.pairs import load_pairs
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


def write_torch(arrays: Arrays) -> None:
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, "pairs.pt")


WRITERS: dict[str, Callable[[Arrays], None]] = {
    ".fvecs": write_fvecs,
    ".fbin": write_fbin,
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
