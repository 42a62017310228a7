"""Whether prefixes of embeddings rank better for being trained, and what that costs.

    python benchmarks/matryoshka.py [FOLDER] [--seeds 5] [--tiny]

Each loss is trained three times a seed, by its own defaults: without prefixes; with prefixes of weight 0, which are
scored and change nothing else; and with prefixes of weight 1. Data sets are digits (32 target dimensions) and, with a
FOLDER for those of ``data_sets.py``, words (384), as they are and turned: by an orthogonal matrix that puts first what
the training targets differ in most, and keeps every cosine of whole targets. Printed are means over seeds of the test
MRR of each prefix, with their differences and twice the standard error, CPU seconds of a run as a multiple of those
without prefixes, and all of it as one line of JSON. A quarter of an hour on one core.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from data_sets import words

import losstune as lt
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.splits import split_rows

LOSSES = ("infonce", "cosine")
WEIGHTS = {"none": None, "scored": 0, "trained": 1}
Arrays = Mapping[str, npt.NDArray[Any]]


def data_sets(folder: Path | None) -> Iterator[tuple[str, Arrays, list[int]]]:
    """Name, arrays and prefixes of each set."""
    digits = load_pairs("digits")
    yield "digits", {"inputs": digits.inputs[:], "targets": digits.targets[:]}, [8, 16]
    if folder is not None:
        file = folder / "words.npz"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(file, **words())  # type: ignore[arg-type]  # taken for allow_pickle
        arrays = dict(np.load(file))
        yield "words", arrays, [32, 64, 128]
        yield "words, turned", {**arrays, "targets": turned(arrays)}, [32, 64, 128]


def turned(arrays: Arrays) -> npt.NDArray[np.float32]:
    """Targets (N, d) by the right singular vectors of the training split's about their mean."""
    train = arrays["targets"][split_rows(load_pairs(arrays), 0).train].astype(np.float64)
    axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=True)[2]
    found: npt.NDArray[np.float32] = (arrays["targets"] @ axes.T).astype(np.float32)
    return found


def run(arrays: Arrays, loss: str, dims: list[int], weight: int | None, seed: int, epochs: int) -> dict[str, float]:
    """Test MRR by dimensions, 0 being all, and CPU seconds."""
    prefixes = {} if weight is None else {"matryoshka_dims": dims, "matryoshka_weights": [weight] * len(dims)}
    settings = {"loss_fn": loss, "num_epochs": epochs, "seed": seed, "device": "cpu", "threads": 1, **prefixes}
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found = lt.train(settings, arrays, output_dir=folder, quiet=True, test=True).metrics
    seconds = time.process_time() - began
    by_dims = {} if weight is None else {str(k): found[f"test/dim_{k}/mrr"] for k in dims}
    return {"seconds": seconds, "all": found["test/mrr"], **by_dims}


def compared(name: str, arrays: Arrays, loss: str, dims: list[int], seeds: int, epochs: int) -> dict[str, Any]:
    """Means over seeds, printed as they come."""
    runs = {
        kind: [run(arrays, loss, dims, weight, seed, epochs) for seed in range(seeds)]
        for kind, weight in WEIGHTS.items()
    }
    assert [one["all"] for one in runs["none"]] == [one["all"] for one in runs["scored"]]
    cost = {kind: sum(one["seconds"] for one in own) for kind, own in runs.items()}
    result: dict[str, Any] = {"set": name, "loss": loss, "seeds": seeds, "epochs": epochs}
    result |= {f"cost_{kind}": cost[kind] / cost["none"] for kind in ("scored", "trained")}
    for size in [*map(str, dims), "all"]:
        plain, trained = (np.array([one[size] for one in runs[kind]]) for kind in ("scored", "trained"))
        error = 2 * (trained - plain).std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
        result[size] = [plain.mean(), trained.mean(), (trained - plain).mean(), error]
        print(
            f"{name:<14} {loss:<8} {size:>4}  plain {plain.mean():.4f}  trained {trained.mean():.4f}  "
            f"{(trained - plain).mean():+.4f} ± {error:.4f}",
            flush=True,
        )
    print(f"{'':<28}  CPU: scored {result['cost_scored']:.2f}, trained {result['cost_trained']:.2f}", flush=True)
    return result


def main() -> None:
    """Train all, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where words.npz is, or is to be")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="two epochs: shows that it runs")
    arguments = parser.parse_args()
    epochs = 2 if arguments.tiny else 27
    for _, arrays, dims in data_sets(None):
        run(arrays, LOSSES[0], dims, 1, seed=0, epochs=1)  # loads what the first measured run would
    found = [
        compared(name, arrays, loss, dims, arguments.seeds, epochs)
        for name, arrays, dims in data_sets(arguments.folder)
        for loss in LOSSES
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
