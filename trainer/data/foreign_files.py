"""Kinds of files that are not read here, and for each the function of a few lines that reads it."""

from pathlib import Path

from losstune.trainer.base.errors import UserError

_FVECS = """\
import numpy as np
def vectors(file):  # each row: its length as a whole number of four bytes, then as many floats
    width = 1 + np.fromfile(file, "<i4", count=1)[0]
    return np.fromfile(file, "<f4").reshape(-1, width)[:, 1:]
def pairs():
    return {"inputs": vectors("inputs.fvecs"), "targets": vectors("targets.fvecs")}"""
_FBIN = """\
import numpy as np
def vectors(file):  # rows and width as whole numbers of four bytes, then all floats
    return np.fromfile(file, "<f4", offset=8).reshape(np.fromfile(file, "<u4", count=2))
def pairs():
    return {"inputs": vectors("inputs.fbin"), "targets": vectors("targets.fbin")}"""
_HDF5 = """\
import h5py
def pairs():
    with h5py.File("pairs.h5") as file:
        return {"inputs": file["inputs"][:], "targets": file["targets"][:]}"""
_FAISS = """\
import faiss
def vectors(file):  # by rising number; an index that compresses gives them back about as they were
    index = faiss.read_index(file)
    return index.reconstruct_n(0, index.ntotal)
def pairs():
    return {"inputs": vectors("inputs.faiss"), "targets": vectors("targets.faiss")}"""
_LANCE = """\
import lancedb
def pairs():
    table = lancedb.connect("folder").open_table("pairs").to_pandas()
    return {"inputs": table["inputs"], "targets": table["targets"]}"""
_JSON = """\
import json
def pairs():  # a list of rows; a file with a row in each line is read if it is named .jsonl
    rows = json.load(open("pairs.json"))
    return {"inputs": [row["inputs"] for row in rows], "targets": [row["targets"] for row in rows]}"""
_CSV = """\
import pandas as pd
def pairs():  # columns named input_0, input_1, ... and target_0, target_1, ...
    table = pd.read_csv("pairs.csv")
    return {"inputs": table.filter(regex="^input_").to_numpy(), "targets": table.filter(regex="^target_").to_numpy()}"""
_TORCH = """\
import torch
def pairs():
    saved = torch.load("pairs.pt", weights_only=True)
    return {"inputs": saved["inputs"], "targets": saved["targets"]}"""
FUNCTIONS = {
    ".fvecs": _FVECS,
    ".fbin": _FBIN,
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".faiss": _FAISS,
    ".lance": _LANCE,
    ".json": _JSON,
    ".csv": _CSV,
    ".pt": _TORCH,
    ".pth": _TORCH,
}
"""A module with a function ``pairs`` that reads such a file, by the end of its name."""


def refuse_foreign(source: str) -> None:
    """Refuse a file, or a folder, of a kind that is known and not read.

    Raises:
        UserError: shows the function that reads it, and how to name that.
    """
    path = Path(source)
    suffix = ".lance" if path.is_dir() and any(path.glob("*.lance")) else path.suffix.lower()
    if suffix in FUNCTIONS:
        raise UserError(
            f"--data {source}: {suffix} files are not read, but a function of yours can read them: save this as "
            f"my_data.py, with your names, and give --data my_data:pairs\n{FUNCTIONS[suffix]}"
        )
