"""What mined hard negatives cost, and what they are worth.

    python benchmarks/hard_negatives.py cost                    # a minute
    python benchmarks/hard_negatives.py worth digits words.npz  # an hour; sets of data_sets.py, or any other
    python benchmarks/hard_negatives.py cost --tiny             # in seconds: shows that it runs

- cost: seconds of CPU of one core for an epoch of InfoNCE on 60,000 rows of 384 → 384 numbers, each its own target, in
  batches of 128, without the validation; of one mining; and what an epoch's share of it is. The least of three.
- worth: for each seed the test MRR at the best validation epoch, untuned infonce beside the same with negatives of each
  row's own; means of the differences over seeds, with twice their standard error. Seeds draw splits too.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

import losstune as lt
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.trainer.data.resident import resident_data, split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.loop import Trainer

WAYS: Mapping[str, Mapping[str, Any]] = {
    "infonce": {},
    "1, skip 0": {"hard_negatives": 1, "hard_negatives_skip": 0},
    "4, skip 0": {"hard_negatives": 4, "hard_negatives_skip": 0},
    "4, skip 8": {"hard_negatives": 4},
    "4, skip 32": {"hard_negatives": 4, "hard_negatives_skip": 32},
    "16, skip 8": {"hard_negatives": 16},
    "4, margin 0.1": {"hard_negatives": 4, "hard_negatives_skip": 0, "guide_margin": 0.1},
}
CPU = torch.device("cpu")


def trainer_of(pairs: Pairs, **settings: Any) -> Trainer:
    """A trainer of InfoNCE on the CPU."""
    config = TrainConfig.from_flat({"loss_fn": "infonce", "device": "cpu", **settings})
    return Trainer(config, resident_data(pairs, config, CPU))


def seconds(work: Callable[[], object]) -> float:
    """The least CPU time of three times."""
    found = []
    for _ in range(3):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def cost(rows: int, wide: int) -> None:
    """Time an epoch with and without the negatives, and their mining."""
    rng = np.random.default_rng(0)
    split = np.repeat([0, 1], [rows, 200])
    inputs = rng.standard_normal((len(split), wide), dtype=np.float32)
    turn = rng.standard_normal((wide, wide), dtype=np.float32) / wide**0.5
    pairs = make_pairs({"inputs": inputs, "targets": np.tanh(inputs @ turn), "split": split}, "made")
    figures: dict[str, Any] = {"rows": rows}
    plain = trainer_of(pairs, batch_size=128)
    plain.epoch = 1
    figures["epoch"] = epoch = seconds(plain._train)
    for negatives in (1, 4, 8):
        trainer = trainer_of(pairs, batch_size=128, hard_negatives=negatives)
        assert trainer._miner is not None
        every = trainer._miner.mining.every
        trainer.epoch = 1  # mines before it trains
        trainer._train()
        trainer.epoch = 2
        with_negatives = seconds(trainer._train)
        trainer.epoch = every + 1
        mining = seconds(trainer._train) - with_negatives
        share = mining / every / epoch
        figures[str(negatives)] = {"epoch": with_negatives, "mining": mining, "share of an epoch": share}
        print(
            f"{negatives} negatives: an epoch {with_negatives:.2f} s, without them {epoch:.2f} s; "
            f"a mining {mining:.2f} s, each {every} epochs: {share:.0%} of an epoch without them"
        )
    print(json.dumps(figures))


def test_mrr(pairs: Pairs, seed: int, epochs: int, way: Mapping[str, Any]) -> float:
    """Of the best validation epoch of one run."""
    trainer = trainer_of(pairs, seed=seed, split_seed=seed, num_epochs=epochs, patience=None, **way)
    while trainer.end is None:
        trainer.run_epoch()
    trainer.model.load_state_dict(trainer.best_state)
    return trainer.evaluate(split_tensors(pairs, split_rows(pairs, seed).test, CPU))["mrr"]


def worth(sources: list[str], seeds: int, epochs: int, rows: int, temperature: float) -> None:
    """Train each way with each seed, and print the differences."""
    table = Table("data", *WAYS)
    for source in sources:
        whole = lt.load_pairs(source)
        pairs = make_pairs({n: np.asarray(getattr(whole, n)[:rows]) for n in ("inputs", "targets", "ids")}, source)
        found: dict[str, npt.NDArray[np.float64]] = {}
        for name, way in WAYS.items():
            settings = {"temperature": temperature, **way}
            found[name] = np.array([test_mrr(pairs, seed, epochs, settings) for seed in range(seeds)])
            print(json.dumps({"data": source, "way": name, "mrr": found[name].round(4).tolist()}), flush=True)
        cells = [f"{found['infonce'].mean():.4f}"]
        for name in list(WAYS)[1:]:
            gain = found[name] - found["infonce"]
            cells.append(f"{gain.mean():+.4f} ± {2 * gain.std(ddof=1) / len(gain) ** 0.5:.4f}")
        table.add_row(source.rpartition("/")[2], *cells)
    Console(width=160).print(table)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "worth"))
    parser.add_argument("data", nargs="*", default=["digits"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rows", type=int, default=5000, help="of each data set")
    parser.add_argument("--temperature", type=float, default=0.07, help="of all")
    parser.add_argument("--tiny", action="store_true", help="few rows, seeds and epochs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "cost":
        cost(*((600, 16) if given.tiny else (60_000, 384)))
    elif given.tiny:
        worth(given.data, 2, 2, 600, given.temperature)
    else:
        worth(given.data, given.seeds, given.epochs, given.rows, given.temperature)


if __name__ == "__main__":
    main()
