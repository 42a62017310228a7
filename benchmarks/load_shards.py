"""Time and memory of loading shards, beside what reading them takes in pyarrow, and hashing in NumPy and hashlib.

A million random pairs of 384 → 384 numbers in 20 Parquet files, as pyarrow writes them. Each of three processes does
one thing, twice in turn with the others; the lower time counts, since other work on the machine only adds to it.

- pyarrow: ``pyarrow.parquet.read_table`` of the folder, on all cores.
- hashing: the digest of all numbers by SHA-256, and of each target's 8 bytes, as a study knows data and targets.
- losstune: ``load_pairs``, which reads, checks, and hashes both.

    python benchmarks/load_shards.py

Prints a table and one line of JSON; ``--json``: the JSON only. Needs 3 GB in the temporary folder and 6 GB of memory,
and removes all.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH = 384
SHARDS = 20
ROUNDS = 2
KINDS = ("pyarrow", "hashing", "losstune")


def make_shards(folder: Path, rows: int) -> None:
    """Write random pairs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    for number, part in enumerate(np.array_split(np.arange(rows), SHARDS)):
        offsets = np.arange(0, len(part) * WIDTH + 1, WIDTH, dtype=np.int32)
        columns = {
            name: pa.ListArray.from_arrays(offsets, pa.array(rng.random(len(part) * WIDTH, dtype=np.float32) - 0.5))
            for name in ("inputs", "targets")
        }
        pq.write_table(pa.table(columns), folder / f"part-{number:05d}-of-{SHARDS:05d}.parquet")


def read(folder: Path, _: int) -> int:
    """All columns by pyarrow; returns their bytes."""
    import pyarrow.parquet as pq

    return int(pq.read_table(folder).nbytes)


def hash_all(_: Path, rows: int) -> int:
    """Inputs and targets of as many rows; returns their bytes."""
    arrays = [np.ones((rows, WIDTH), np.float32) for _ in range(2)]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.data)
    for row in arrays[1]:
        hashlib.blake2b(row.tobytes(), digest_size=8).digest()
    return sum(array.nbytes for array in arrays)


def load(folder: Path, _: int) -> int:
    """The same as losstune loads it; returns the bytes that it keeps."""
    from losstune.trainer.data.pairs import load_pairs

    return load_pairs(str(folder)).bytes_in_memory


def measured(kind: str, folder: Path, rows: int) -> dict[str, float]:
    """One process that does this kind of work, and tells of it."""
    command = [sys.executable, __file__, "--rows", str(rows), "--do", kind, str(folder)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def told(kind: str, folder: Path, rows: int) -> dict[str, float]:
    """Do it here; the seconds do not count what is imported, the memory does."""
    import pyarrow.parquet  # noqa: F401

    import losstune.trainer.data.pairs  # noqa: F401

    work = {"pyarrow": read, "hashing": hash_all, "losstune": load}[kind]
    began, cpu = time.perf_counter(), time.process_time()
    size = work(folder, rows)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": wall, "cpu_seconds": cpu, "bytes": size, "peak": peak}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time and memory of loading a folder of shards.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print the JSON only")
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.do:
        print(json.dumps(told(options.do[0], Path(options.do[1]), options.rows)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        make_shards(Path(name), options.rows)
        runs = [{kind: measured(kind, Path(name), options.rows) for kind in KINDS} for _ in range(ROUNDS)]
    best = {kind: min((run[kind] for run in runs), key=lambda one: one["seconds"]) for kind in KINDS}
    if not options.json:
        print(f"{'':<10}{'seconds':>9}{'CPU seconds':>13}{'peak, GB':>10}{'arrays, GB':>12}")
        for kind, one in best.items():
            sizes = f"{one['peak'] / 1e9:>10.2f}{one['bytes'] / 1e9:>12.2f}"
            print(f"{kind:<10}{one['seconds']:>9.1f}{one['cpu_seconds']:>13.1f}{sizes}")
    times = {
        unit: best["losstune"][unit] / (best["pyarrow"][unit] + best["hashing"][unit])
        for unit in ("seconds", "cpu_seconds")
    }
    memory = best["losstune"]["peak"] / best["losstune"]["bytes"]
    print(json.dumps({**best, "times_reading_and_hashing": times, "peak_by_kept": memory}))


if __name__ == "__main__":
    main()
