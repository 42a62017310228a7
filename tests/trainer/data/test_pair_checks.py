"""What is refused of pairs, and with which words; rows pass by in pieces, and it makes no difference how large."""

import numpy as np
import pytest

from losstune.trainer.data import pair_checks
from losstune.trainer.data.pair_checks import pieces, row_bytes
from losstune.trainer.data.pairs import make_pairs
from losstune.trainer.data.remedies import (
    FINITE,
    FLAT,
    LONG_ENOUGH,
    ONE_SPLIT,
    ONE_TARGET,
    SHORT_ENOUGH,
    WHOLE,
    another,
)
from tests.trainer.samples import Arrays, changed, refusal, with_value

REFUSED = {
    "flat inputs": (
        changed(inputs=np.zeros(6)),
        f"inputs has shape (6,); expected (rows, …) with at least 2 axes{FLAT.format('inputs')}",
    ),
    "inputs without rows": (
        changed(inputs=np.zeros((0, 3))),
        "inputs has shape (0, 3); expected (rows, …) with at least 2 axes, none of them 0",
    ),
    "targets without rows": (
        changed(inputs=np.zeros((0, 3)), targets=np.zeros((0, 2))),
        "targets has shape (0, 2); expected (rows, dimensions), none of them 0",
    ),
    "text inputs": (
        changed(inputs=np.full((6, 2), "a")),
        f"inputs has type <U1; expected float or integer{another('inputs')}",
    ),
    "complex inputs": (
        changed(inputs=np.ones((6, 2), dtype=complex)),
        f"inputs has type complex128; expected float or integer{another('inputs')}",
    ),
    "flat targets": (
        changed(targets=np.ones(6)),
        f"targets has shape (6,); expected (rows, dimensions){FLAT.format('targets')}",
    ),
    "deep targets": (
        changed(targets=np.ones((6, 2, 2))),
        f"targets has shape (6, 2, 2); expected (rows, dimensions){FLAT.format('targets')}",
    ),
    "targets without dimensions": (
        changed(targets=np.ones((6, 0))),
        "targets has shape (6, 0); expected (rows, dimensions), none of them 0",
    ),
    "integer targets": (
        changed(targets=np.ones((6, 2), dtype=int)),
        "targets has type int64; expected float: of whole numbers; save numpy.float32(array), of bits after "
        "numpy.unpackbits",
    ),
    "bfloat16 as NumPy saves it": (
        changed(inputs=np.zeros((6, 2), dtype="V2")),
        "inputs has type |V2; expected float or integer: as NumPy saves bfloat16 or float8; save "
        "tensor.float().numpy()",
    ),
    "arrays in an array": (
        changed(inputs=np.array([*"abcdef"], dtype=object)),
        "inputs has type object; expected float or integer: an array of arrays, as of a data frame; "
        "save numpy.stack(frame['inputs'])",
    ),
    "unequal rows": (
        changed(inputs=np.zeros((5, 3))),
        "inputs has 5 rows, targets has 6; they must be equal: array[:5] of each",
    ),
    "NaN input": (
        with_value("inputs", 4, np.nan),
        f"inputs row 4 holds NaN, infinity or a number beyond float32 (1 such rows){FINITE.format('inputs')}",
    ),
    "infinite target": (
        with_value("targets", 2, np.inf),
        f"targets row 2 holds NaN, infinity or a number beyond float32 (1 such rows){FINITE.format('targets')}",
    ),
    "target too large for float32": (
        changed(targets=np.full((6, 2), 1e300)),
        f"targets row 0 holds NaN, infinity or a number beyond float32 (6 such rows){FINITE.format('targets')}",
    ),
    "zero target": (
        with_value("targets", 3, 0),
        f"targets row 3 is all zeros, or nearly (1 such rows); a target needs a direction{LONG_ENOUGH}",
    ),
    "nearly zero target": (
        with_value("targets", 3, 5e-7),
        f"targets row 3 is all zeros, or nearly (1 such rows); a target needs a direction{LONG_ENOUGH}",
    ),
    "target whose length is beyond float32": (
        with_value("targets", 3, -2e19),
        "targets row 3 has a length beyond float32 (1 such rows); a target needs a direction"
        f"{SHORT_ENOUGH.format('targets')}",
    ),
    "float ids": (
        changed(ids=np.zeros(6)),
        "ids has type float64 and shape (6,); expected whole numbers, text, uuid or bytes, shape (6,)"
        f"{WHOLE.format('ids')}",
    ),
    "too few ids": (
        changed(ids=np.arange(5)),
        f"ids has type int64 and shape (5,); expected whole numbers, text, uuid or bytes, shape (6,){another('ids')}",
    ),
    "one id, two targets": (
        changed(ids=np.array([0, 1, 2, 3, 1, 5])),
        f"ids rows 1 and 4 are both 1, but their targets differ; an id is the identity of one target{ONE_TARGET}",
    ),
    "too few splits": (
        changed(split=np.array(["train"] * 5)),
        f"split has shape (5,); expected (6,){another('split')}",
    ),
    "unknown split": (
        changed(split=np.array(["train", "val", "live", "train", "test", "live"])),
        "split row 2 is 'live'; allowed: train, val (or validation, valid, dev), test: "
        "frame['split'].replace('live', 'train')",
    ),
    "a target in two splits": (
        changed(targets=np.ones((6, 2)), split=np.array(["train"] * 4 + ["test", "train"])),
        f"split puts rows 0 and 4, which share a target, into train and test; {ONE_SPLIT}",
    ),
    "an id in train and val": (
        changed(ids=np.array([7, 1, 2, 3, 4, 7]), targets=np.ones((6, 2)), split=np.array(["val"] * 5 + ["train"])),
        f"split puts rows 0 and 5, which share a target, into val and train; {ONE_SPLIT}",
    ),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_arrays_are_refused_by_file_array_and_row(arrays: Arrays, message: str) -> None:
    assert refusal(make_pairs, arrays, "/data/pairs.npz") == f"/data/pairs.npz: {message}"


def test_pieces_are_all_rows_in_order_each_with_its_first_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(14, dtype=np.int64).reshape(7, 2)
    assert row_bytes(rows) == 16
    monkeypatch.setattr(pair_checks, "PIECE_BYTES", 50)
    found = list(pieces(rows))
    assert [start for start, _ in found] == [0, 3, 6]
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), rows)


def test_a_row_has_its_number_also_in_a_later_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_checks, "PIECE_BYTES", 1)
    arrays = with_value("inputs", 4, np.nan)
    arrays["inputs"][5, 0] = np.inf
    assert (
        refusal(make_pairs, arrays, "x")
        == f"x: inputs row 4 holds NaN, infinity or a number beyond float32 (2 such rows){FINITE.format('inputs')}"
    )
