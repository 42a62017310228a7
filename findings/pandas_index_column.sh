#!/usr/bin/env bash
# pandas 3.1.1 with pyarrow 25.0.1: whether an index is a column of a Parquet file depends on its values.
#
# A frame with whole numbers as ids, set_index("id"), to_parquet: one expects a column "id" in the file, and there is
# one for the ids 10, 20, 31. For 10, 20, 30 there is none. pandas 3 turns evenly spaced numbers into a RangeIndex in
# set_index, which to_parquet writes as start, stop and step into pandas' own metadata. pandas reads it back; pyarrow's
# table has no such column, nor has any other reader of Parquet. A file of ids works until the day their numbers are
# even.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==25.0.1 numpy==2.4.6

venv/bin/python - <<'PY'
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def columns(ids: list[int]) -> list[str]:
    frame = pd.DataFrame({"id": ids, "value": [0.1, 0.2, 0.3]}).set_index("id")
    frame.to_parquet("written.parquet")
    assert list(pd.read_parquet("written.parquet").index) == ids
    return pq.read_table("written.parquet").column_names


uneven, even = columns([10, 20, 31]), columns([10, 20, 30])
print("pandas", pd.__version__, "pyarrow", pa.__version__)
print("expected: the same columns, whatever the ids")
print("seen, ids 10, 20, 31:", uneven)
print("seen, ids 10, 20, 30:", even)
sys.exit(0 if uneven == ["value", "id"] and even == ["value"] else "no longer so")
PY
