"""This code beside an earlier commit's, in one run on one machine.

    python benchmarks/against.py [--commit efdaf69] [--rounds 5] [--only WORDS]

Checks the commit out to a temporary folder and times both sides in turn, each in processes of its own with one
thread; prints medians and their ratio.
"""

import argparse
import json
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from earlier import LAST_RELEASE, ROOT, installed, python_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

Found = dict[str, float]

RANKING = """
import json, time, torch
try:
    from trainer.metrics import rank_in_gallery  # before all packages had one name
except ImportError:
    from losstune.trainer.score.ranking import rank_in_gallery

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
queries, gallery = (torch.randn(20_000, 384, generator=generator) for _ in range(2))
positive = torch.randperm(20_000, generator=generator)
began = time.process_time()
found = rank_in_gallery(queries, gallery, positive)
print(json.dumps({"seconds": time.process_time() - began, "same": found.mrr()}))
"""

EPOCH = """
import json, time, numpy as np, torch
settings = {"loss_fn": "infonce", "batch_size": 256, "threads": 1}
try:
    from trainer.config import TrainConfig  # before all packages had one name
    from trainer.data import make_pairs
    from trainer.loop import Trainer
    from trainer.resident import resident_data
    with_queries = None  # all rows were scored then
except ImportError:
    from losstune.trainer.config.train_config import TrainConfig
    from losstune.trainer.data.pairs import make_pairs
    from losstune.trainer.data.resident import resident_data
    from losstune.trainer.run.loop import Trainer
    from losstune.tuning.space.reader import load_space
    from losstune.tuning.space.settings import StudySettings
    from losstune.tuning.space.validation import with_queries

torch.set_num_threads(1)
random = np.random.default_rng(0)
inputs = random.standard_normal(({rows}, 384), dtype=np.float32)
turn = random.standard_normal((384, 384), dtype=np.float32) / 384**0.5
pairs = make_pairs({"inputs": inputs, "targets": np.tanh(inputs @ turn)}, "made")
if with_queries:  # as a new study of the shipped space would
    settings["eval_queries"] = with_queries([load_space("infonce")], StudySettings(), pairs).eval_queries
config = TrainConfig.from_flat(settings)
trainer = Trainer(config, resident_data(pairs, config, torch.device("cpu")))
trainer.run_batches(10)
evaluate, spent = trainer.evaluate, []

def timed(split):
    began = time.process_time()
    found = evaluate(split)
    spent.append(time.process_time() - began)
    return found

trainer.evaluate = timed
began = time.process_time()
record = trainer.run_epoch()
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "same": record["train/cosine_sim"], "validation": spent[0]}))
"""

STEPS = """
import json, statistics, time, numpy as np, torch
try:
    from trainer.config import TrainConfig  # before all packages had one name
    from trainer.data import make_pairs
    from trainer.loop import Trainer
    from trainer.resident import resident_data
except ImportError:
    from losstune.trainer.config.train_config import TrainConfig
    from losstune.trainer.data.pairs import make_pairs
    from losstune.trainer.data.resident import resident_data
    from losstune.trainer.run.loop import Trainer

torch.set_num_threads(1)
random = np.random.default_rng(0)
inputs = random.standard_normal(({steps} * {batch} * 5 // 4, {dim}), dtype=np.float32)
pairs = make_pairs({"inputs": inputs, "targets": np.tanh(inputs @ random.standard_normal(({dim}, {dim})))}, "made")
shape = {"model.hidden_dim": {width}, "model.depth": {depth}, "batch_size": {batch}}
settings = {"loss_fn": "infonce", "fit": "train+val", "device": "cpu", **shape}  # nothing is validated
config = TrainConfig.from_flat(settings)
trainer = Trainer(config, resident_data(pairs, config, torch.device("cpu")))
steps = len(trainer.data.train) // {batch}
first, spent = trainer.run_epoch(), []
for _ in range(5):
    began = time.process_time()
    trainer.run_epoch()
    spent.append(time.process_time() - began)
print(json.dumps({"seconds": statistics.median(spent) / steps * 1000, "same": first["train/cosine_sim"]}))
"""


@dataclass(frozen=True)
class Case:
    """What is timed on both sides.

    Attributes:
        program: prints its ``seconds``, and as ``same`` a number on which the sides have to agree.
        apart: how far ``same`` may be apart; what sums in another order differs in its last digits.
        most: rounds at most, where one takes minutes.
    """

    name: str
    program: str
    apart: float = 1e-9
    most: int = 5


def epoch(rows: int, most: int = 5) -> Case:
    """A whole epoch, training and validation, of the rows that a split leaves of so many."""
    name = f"an epoch of {rows:,} pairs of 384 dimensions, infonce, batches of 256"
    return Case(name, EPOCH.replace("{rows}", str(rows)), apart=1e-4, most=most)


def steps(dim: int, width: int, depth: int, batch: int, count: int) -> Case:
    """A thousand steps of the encoder, timed by epochs of about so many."""
    layers = " → ".join(str(size) for size in (dim, *[width] * depth, dim))
    program, given = STEPS, {"dim": dim, "width": width, "depth": depth, "batch": batch, "steps": count}
    for name, value in given.items():
        program = program.replace(f"{{{name}}}", str(value))
    return Case(f"1,000 steps of {layers}, infonce, batches of {batch}", program, apart=1e-4)


EPOCHS = {rows: epoch(rows, most) for rows, most in ((30_000, 5), (100_000, 5), (300_000, 3))}
CASES = (
    Case("ranking 20,000 queries in 20,000 targets of 384 dimensions", RANKING),
    *EPOCHS.values(),
    steps(32, 64, 1, batch=32, count=1000),
    steps(32, 256, 2, batch=32, count=500),
    steps(32, 512, 3, batch=16, count=200),
    steps(384, 512, 1, batch=256, count=40),
)


def run(program: str, sources: Path) -> Found:
    """What a program prints on the sources in a folder."""
    command, environment = python_of(sources, "-c", program)
    done = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=True)
    found: Found = json.loads(done.stdout)
    return found


def compared(case: Case, before: Path, rounds: int) -> tuple[Found, Found]:
    """Medians of what the earlier code and this one print, each run in turn."""
    sides: dict[Path, list[Found]] = {before: [], ROOT: []}
    for _ in track(range(min(rounds, case.most)), case.name, console=Console(stderr=True)):
        for sources, found in sides.items():
            found.append(run(case.program, sources))
    results = sorted(one["same"] for found in sides.values() for one in found)
    assert results[-1] - results[0] <= case.apart, f"{case.name}: the two sides compute different things: {results}"
    old, new = ({key: statistics.median(one[key] for one in found) for key in found[0]} for found in sides.values())
    return old, new


def epochs_table(found: dict[int, tuple[Found, Found]]) -> Table:
    """How an epoch's time grows with the rows, and how much of it is validation."""
    sides = [
        f"{what}, {side}" for what in ("validation's share", "time a row, first = 1") for side in ("before", "now")
    ]
    table = Table("pairs", *sides)
    first, *_ = found
    for rows, both in found.items():
        shares = [one["validation"] / one["seconds"] for one in both]
        growth = [one["seconds"] / rows * first / of["seconds"] for one, of in zip(both, found[first], strict=True)]
        table.add_row(f"{rows:,}", *(f"{share:.1%}" for share in shares), *(f"{times:.2f}" for times in growth))
    return table


def main() -> None:
    """Time every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default=LAST_RELEASE, help="the earlier code")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side")
    parser.add_argument("--only", default="", help="cases whose name has these words")
    given = parser.parse_args()
    table = Table("one core", "before, s", "now, s", "times as fast")
    medians: dict[Case, tuple[Found, Found]] = {}
    with installed(given.commit) as before:
        for case in CASES:
            if given.only in case.name:
                old, new = medians[case] = compared(case, before, given.rounds)
                times = old["seconds"] / new["seconds"]
                table.add_row(case.name, f"{old['seconds']:.2f}", f"{new['seconds']:.2f}", f"{times:.2f}")
    Console().print(table)
    if epochs := {rows: medians[case] for rows, case in EPOCHS.items() if case in medians}:
        Console().print(epochs_table(epochs))


if __name__ == "__main__":
    main()
