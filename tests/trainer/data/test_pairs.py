"""Pairs: where they come from, what they look like, and what is refused with which words."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from losstune.trainer.data import pair_checks
from losstune.trainer.data.pairs import load_inputs, load_pairs, make_pairs
from losstune.trainer.data.remedies import FINITE
from tests.trainer.samples import changed, refusal

OTHER_NAME = "; if it has another name: --columns {}=NAME"


class TestDigits:
    def test_inputs_are_left_halves_and_targets_right_halves_scaled_to_one(self) -> None:
        pairs = load_pairs("digits")
        images = np.concatenate([pairs.inputs.reshape(-1, 8, 4), pairs.targets.reshape(-1, 8, 4)], axis=2)
        assert pairs.inputs.shape == pairs.targets.shape == (1797, 32)
        assert pairs.inputs.dtype == pairs.targets.dtype == np.float32
        np.testing.assert_array_equal(images * 16, load_digits().images)

    def test_rows_share_an_id_exactly_where_they_share_the_target(self) -> None:
        pairs = load_pairs("digits")
        distinct = {row.tobytes(): id_ for row, id_ in zip(pairs.targets, pairs.ids, strict=True)}
        assert [distinct[row.tobytes()] for row in pairs.targets] == pairs.ids.tolist()
        assert len(np.unique(pairs.ids)) == len(distinct)

    def test_digest_is_the_same_every_time(self) -> None:
        assert load_pairs("digits").digest == load_pairs("digits").digest


class TestArrays:
    def test_float_inputs_and_targets_become_float32(self) -> None:
        arrays = {name: array.astype(np.float64) for name, array in changed().items()}
        pairs = make_pairs(arrays, "x")
        assert pairs.inputs.dtype == pairs.targets.dtype == np.float32
        np.testing.assert_array_equal(pairs.inputs, arrays["inputs"].astype(np.float32))

    @pytest.mark.parametrize(
        ("given", "kept"), [("uint8", "uint8"), ("bool", "uint8"), ("int16", "int64"), ("uint32", "int64")]
    )
    def test_integer_inputs_stay_integers(self, given: str, kept: str) -> None:
        inputs = np.arange(24).reshape(6, 2, 2).astype(given)
        pairs = make_pairs(changed(inputs=inputs), "x")
        assert pairs.inputs.dtype == kept
        np.testing.assert_array_equal(pairs.inputs[:], inputs)

    def test_integers_take_no_more_memory_than_they_were_given_in(self) -> None:
        wide, slim = (make_pairs(changed(inputs=np.ones((6, 80), dtype)), "x") for dtype in (np.int64, np.int8))
        assert wide.bytes_in_memory - slim.bytes_in_memory == 6 * 80 * 7
        assert wide.digest == slim.digest

    def test_inputs_may_have_any_number_of_axes(self) -> None:
        assert make_pairs(changed(inputs=np.zeros((6, 2, 3, 4))), "x").inputs.shape == (6, 2, 3, 4)

    def test_equal_targets_share_an_id_and_minus_zero_counts_as_zero(self) -> None:
        targets = np.array([[1, 0], [0, 1], [1, -0.0], [0, 1], [1, 1e-9], [2, 0]], dtype=np.float32)
        ids = make_pairs(changed(targets=targets), "x").ids
        assert ids[0] == ids[2]
        assert ids[1] == ids[3]
        assert len(set(ids.tolist())) == 4

    def test_an_id_by_content_does_not_depend_on_the_other_rows(self) -> None:
        arrays = changed()
        ids = make_pairs(arrays, "x").ids
        reversed_ids = make_pairs({name: array[::-1] for name, array in arrays.items()}, "x").ids
        assert reversed_ids[::-1].tolist() == ids.tolist()

    def test_ids_that_are_given_are_kept(self) -> None:
        ids = np.array([9, -3, 9, 4, 5, 6], dtype=np.int32)
        targets = changed()["targets"]
        targets[2] = targets[0]
        assert make_pairs(changed(targets=targets, ids=ids), "x").ids.tolist() == ids.tolist()

    def test_a_target_may_differ_by_rounding_among_rows_of_one_id(self) -> None:
        targets = changed()["targets"]
        targets[2] = targets[0] * 1.0005
        assert len(make_pairs(changed(targets=targets, ids=np.array([0, 1, 0, 3, 4, 5])), "x").ids) == 6

    @pytest.mark.parametrize("kind", [str, object, bytes])
    def test_split_names_are_read_from_any_kind_of_text(self, kind: type) -> None:
        split = np.array(["train", "val", "test", "train", "val", "test"]).astype(kind)
        found = make_pairs(changed(split=split), "x").split
        assert found is not None
        assert found.tolist() == [0, 1, 2, 0, 1, 2]

    @pytest.mark.parametrize("name", ["inputs", "targets", "ids", "split"])
    def test_digest_changes_with_each_array(self, name: str) -> None:
        arrays = changed(ids=np.arange(6), split=np.array(["train", "val"] * 3))
        before = make_pairs(arrays, "x").digest
        arrays[name] = arrays[name].copy()
        arrays[name][0] = {"ids": 77, "split": "test"}.get(name, 0.5)
        assert make_pairs(arrays, "x").digest != before

    def test_digest_is_the_sha_256_of_all_that_pairs_hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pair_checks, "PIECE_BYTES", 20)
        pairs = make_pairs(changed(ids=np.arange(6), split=np.array(["train", "val"] * 3)), "x")
        expected = hashlib.sha256()
        for array, kind in (
            (pairs.inputs, "float32(6, 3)"),
            (pairs.targets, "float32(6, 2)"),
            (pairs.ids, "int64(6,)"),
        ):
            expected.update(kind.encode() + array.tobytes())
        expected.update(b"int8(6,)" + bytes([0, 1] * 3))
        assert pairs.digest == expected.hexdigest()

    def test_digest_does_not_change_with_the_source(self) -> None:
        assert make_pairs(changed(), "a").digest == make_pairs(changed(), "b").digest


class TestFunctions:
    @pytest.fixture(autouse=True)
    def _module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "own_pairs.py").write_text(
            "import numpy as np\n"
            "LIMIT = 3\n"
            "def load():\n    return {'inputs': [[1.0, 2.0], [3.0, 4.0]], 'targets': np.array([[1.0], [2.0]])}\n"
            "def ragged():\n    return {'inputs': [[1.0], [1.0, 2.0]], 'targets': [[1.0], [2.0]]}\n"
            "def listed():\n    return [1, 2]\n"
            "def poor():\n    return {'inputs': [[1.0]]}\n"
            "def broken():\n    return {'inputs': [[1.0]]}['targets']\n"
        )
        (tmp_path / "own_tensors.py").write_text(
            "import numpy as np, torch\n"
            "def load(dtype=torch.float32):\n"
            "    inputs = torch.arange(12.0).reshape(3, 2, 2).transpose(0, 1).to(dtype).requires_grad_()\n"
            "    return {'inputs': inputs, 'targets': np.ones((2, 1)), 'ids': torch.tensor([4, 4])}\n"
            "def bfloat():\n    return load(torch.bfloat16)\n"
            "def half():\n    return load(torch.float16)\n"
            "def double():\n    return load(torch.float64)\n"
            "def whole():\n    return {**load(), 'inputs': torch.ones(2, 3, dtype=torch.int32)}\n"
            "def sparse():\n    return {**load(), 'inputs': torch.eye(2).to_sparse()}\n"
        )

    def test_a_function_of_a_module_gives_the_arrays(self) -> None:
        pairs = load_pairs("own_pairs:load")
        assert pairs.source == "own_pairs:load"
        assert pairs.inputs.tolist() == [[1, 2], [3, 4]]
        assert pairs.targets.tolist() == [[1], [2]]

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("nosuchmodule:load", "--data nosuchmodule:load: No module named 'nosuchmodule'"),
            ("own_pairs:save", "--data own_pairs:save: module 'own_pairs' has no attribute 'save'"),
            ("own_pairs:LIMIT", "--data own_pairs:LIMIT: LIMIT is int, not a function"),
            ("own_pairs:listed", "--data own_pairs:listed: expected a dict of arrays, got list"),
            ("own_pairs:poor", f"own_pairs:poor: no array 'targets'; found inputs{OTHER_NAME.format('targets')}"),
            ("own_pairs:broken", "--data own_pairs:broken: broken() failed: KeyError: 'targets'"),
        ],
    )
    def test_what_is_no_such_function_is_refused(self, source: str, message: str) -> None:
        assert refusal(load_pairs, source) == message

    def test_rows_of_unequal_length_are_refused(self) -> None:
        message = refusal(load_pairs, "own_pairs:ragged")
        assert message.startswith("--data own_pairs:ragged: expected a dict of arrays: inputs: ")

    @pytest.mark.parametrize("name", ["load", "bfloat", "half", "double"])
    def test_tensors_of_any_float_type_with_a_gradient_become_float32(self, name: str) -> None:
        pairs = load_pairs(f"own_tensors:{name}")
        expected = np.arange(12).reshape(3, 2, 2).swapaxes(0, 1)
        assert pairs.inputs.dtype == pairs.targets.dtype == np.float32
        np.testing.assert_array_equal(pairs.inputs, expected[: len(pairs.inputs)])
        assert pairs.ids.tolist() == [4, 4]

    def test_tensors_of_integers_stay_integers(self) -> None:
        assert load_pairs("own_tensors:whole").inputs.dtype == np.int64

    def test_a_tensor_that_is_no_array_is_refused_by_name(self) -> None:
        message = refusal(load_pairs, "own_tensors:sparse")
        assert message.startswith("--data own_tensors:sparse: expected a dict of arrays: inputs: ")


@pytest.mark.parametrize("source", ["digit", "pairs.doc", "", ":load", ".pairs:load", "pairs:", "a b:load"])
def test_what_is_neither_name_nor_file_nor_function_is_refused(source: str) -> None:
    files = "a file ending in .npz, .safetensors, .parquet, .pq, .arrow, .feather, .jsonl"
    folders = "a folder of .npy files or of files of rows, a quoted pattern of such files"
    allowed = f"expected digits, {files}, {folders}, or package.module:function"
    assert refusal(load_pairs, source) == f"--data {source!r}: {allowed}"


@pytest.mark.parametrize("name", ["missing.npz", "missing.safetensors", "missing.parquet"])
def test_a_missing_file_is_refused(name: str) -> None:
    assert refusal(load_pairs, name) == f"--data {name}: no such file"


class TestInputsOnly:
    def test_targets_may_be_absent(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", inputs=np.ones((3, 2)))
        assert load_inputs(str(tmp_path / "a.npz")).tolist() == [[1, 1]] * 3

    def test_inputs_may_not(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        np.savez(path, targets=np.ones((3, 2)))
        assert (
            refusal(load_inputs, str(path)) == f"{path}: no array 'inputs'; found targets{OTHER_NAME.format('inputs')}"
        )

    def test_inputs_are_checked(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        np.savez(path, inputs=np.array([[1.0], [np.nan], [np.inf]]))
        message = "inputs row 1 holds NaN, infinity or a number beyond float32 (2 such rows)"
        assert refusal(load_inputs, str(path)) == f"{path}: {message}{FINITE.format('inputs')}"
