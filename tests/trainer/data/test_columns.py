"""Rows as tensors: from memory and from disk the same, and their sums in pieces those of NumPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from losstune.trainer.data import columns
from losstune.trainer.data.columns import (
    Column,
    MappedColumn,
    Moments,
    NarrowColumn,
    column,
    mean_of,
    moments_of,
    rows_at_once,
    whole_column,
)
from losstune.trainer.data.narrow import narrow
from losstune.trainer.data.npy import MappedArray, NpyFile

CPU = torch.device("cpu")
ROWS = np.random.default_rng(1).permutation(60)[:41]


@pytest.fixture(params=["float32", "uint8", "int64", "narrow"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Tensor, Column]:
    """The same 41 rows of 60 as one tensor, and on disk or in fewer bytes."""
    array = np.random.default_rng(0).uniform(1, 99, size=(60, 2, 3))
    if request.param == "narrow":
        slim = column(narrow(array.astype(np.int8)), ROWS, CPU)
        assert isinstance(slim, NarrowColumn)
        assert slim.kept.dtype == torch.int8
        return torch.from_numpy(array.astype(np.int64)[ROWS]), slim
    array = array.astype(request.param)
    np.save(tmp_path / "a.npy", array)
    file = NpyFile.found(tmp_path / "a.npy", "a")
    resident, mapped = (column(rows, ROWS, CPU) for rows in (array, MappedArray(file, file.header.dtype)))
    assert isinstance(resident, Tensor)
    assert isinstance(mapped, MappedColumn)
    return resident, mapped


def test_rows_on_disk_are_those_in_memory(both: tuple[Tensor, Column]) -> None:
    resident, mapped = both
    assert (mapped.shape, mapped.dtype, mapped.device, len(mapped)) == (resident.shape, resident.dtype, CPU, 41)
    index = torch.tensor([5, 40, 0, 5, 12])
    assert torch.equal(mapped.index_select(0, index), resident.index_select(0, index))
    for size in (1, 7, 41, 100):
        assert all(map(torch.equal, mapped.split(size), resident.split(size)))
        assert len(list(mapped.split(size))) == len(resident.split(size))


@pytest.mark.parametrize("both", ["float32"], indirect=True)
def test_only_rows_are_selected(both: tuple[Tensor, Column]) -> None:
    with pytest.raises(ValueError, match="along dimension 0, not 1"):
        both[1].index_select(1, torch.tensor([0]))


@pytest.mark.parametrize("at_once", [1, 7, 20, 4096])
def test_moments_in_pieces_are_those_of_all_rows(
    both: tuple[Tensor, Column], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "ROWS_AT_ONCE", at_once)
    flat = both[0].reshape(41, 6).double().numpy()
    for rows in both:
        mean, deviation = moments_of(rows)
        np.testing.assert_allclose(mean, flat.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(deviation, flat.std(axis=0), rtol=1e-12)
        np.testing.assert_allclose(mean_of(rows).reshape(-1), flat.mean(axis=0), rtol=1e-13)
    assert all(map(torch.equal, moments_of(both[0]), moments_of(both[1])))
    assert torch.equal(mean_of(both[0]), mean_of(both[1]))


@pytest.mark.parametrize("at_once", [3, 4096])
def test_a_large_mean_leaves_the_deviation_exact(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "ROWS_AT_ONCE", at_once)
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double() + 1e7
    np.testing.assert_allclose(moments_of(rows).deviation, rows.numpy().std(axis=0), rtol=1e-7)


def test_a_constant_number_is_not_scaled() -> None:
    assert moments_of(torch.full((9, 2), 5.0)).scale.tolist() == [1, 1]


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e-5, 1.0, 1e6])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_numbers_of_any_size_are_brought_to_deviation_1(size: float, shift: float) -> None:
    rows = (size * (shift + torch.randn(500, 4, generator=torch.Generator().manual_seed(0)))).float()
    mean, scale = (part.float() for part in (moments_of(rows).mean, moments_of(rows).scale))
    np.testing.assert_allclose(((rows - mean) * scale).std(dim=0, correction=0), 1, rtol=1e-3)


@pytest.mark.parametrize("size", [1e-9, 1.0])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 1e9])
def test_a_constant_number_among_others_of_any_size_is_not_scaled(constant: float, size: float) -> None:
    rows = size * torch.randn(1001, 2, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([rows[:, 0], torch.full((1001,), constant * size), rows[:, 1]], dim=1)
    scale = moments_of(rows).scale
    assert scale[1] == 1
    assert (scale[[0, 2]] * size).tolist() == pytest.approx([1, 1], rel=0.1)


def test_of_ordinary_numbers_those_up_to_a_fixed_deviation_are_constant() -> None:
    """As ever: what a run was trained on is what it goes on with."""
    deviation = torch.tensor([1e-4, 2e-8, 1e-8, 5e-9, 1e-12, 0.0], dtype=torch.float64)
    for first in (1e-4, 1.0, 1e5):
        deviation[0] = first
        expected = torch.where(deviation > 1e-8, 1 / deviation, 1.0)
        assert torch.equal(Moments(torch.zeros(6), deviation).scale, expected)
    deviation[0] = 1e-6
    assert Moments(torch.zeros(6), deviation).scale.tolist()[2:] == [1 / 1e-8, 1 / 5e-9, 1, 1]
    assert Moments(torch.zeros(2), torch.tensor([0.0, 1e-40], dtype=torch.float64)).scale.tolist() == [1, 1]


def test_large_rows_are_handled_by_fewer() -> None:
    assert rows_at_once(torch.empty(10, 512)) == 4096
    assert rows_at_once(torch.empty(10, 3, 224, 224)) == 64 * 1024**2 // (4 * 3 * 224 * 224)
    assert rows_at_once(torch.empty(1, 2**25)) == 1


def test_all_rows_for_the_cpu(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-99, 99, size=(60, 2, 3))
    np.save(tmp_path / "a.npy", array)
    for rows in (array, MappedArray(NpyFile.found(tmp_path / "a.npy", "a"), array.dtype), narrow(array.astype("int8"))):
        assert torch.equal(torch.cat(list(whole_column(rows).split(13))), torch.from_numpy(array))
