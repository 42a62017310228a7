"""What the losses are worth: one study a data set over all of them and infonce's variants, with equal budgets.

    python benchmarks/worth.py FOLDER                # studies and data in FOLDER; hours on two cores
    python benchmarks/worth.py FOLDER --sets digits  # one data set
    python benchmarks/worth.py --table               # the tables of docs/losses.md, from what is kept

Data sets are those of ``data_sets.py``, 2,500 rows drawn from each. A loss is searched in its shipped space, a variant
in infonce's with its own option, all with as many epochs, and the best setting of each is trained again with ten seeds
and scored on the test rows once. What ``losstune compare --all --json`` then says of the picks is kept in
``benchmarks/worth/``. An interrupted benchmark goes on from FOLDER.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from data_sets import written

import losstune as lt
from losstune.search_spaces import __path__ as shipped
from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.loop import Trainer

KEPT = Path(__file__).resolve().parent / "worth"
SETS = ("digits", "words", "senses", "photos")
LOSSES = ("mse", "huber", "cosine", "cosine_mse", "infonce", "infonce_cosine", "siglip", "triplet", "full_softmax")
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "infonce_decoupled": {"fixed": {"decoupled": True}},
    "infonce_hardness": {"start": {"hardness": 0.5}, "space": {"hardness": {"low": 0.1, "high": 2.0, "log": True}}},
    "infonce_guided": {"start": {"guide_margin": 0.1}, "space": {"guide_margin": {"low": 0.0, "high": 0.4}}},
    "infonce_soft": {
        "start": {"target_temperature": 0.05},
        "space": {"target_temperature": {"low": 0.01, "high": 0.2, "log": True}},
    },
    "infonce_mined": {"start": {"hard_negatives": 4}, "space": {"hard_negatives": {"choices": [2, 4, 8]}}},
}
BUDGET = {"max_epochs": 27, "epochs_per_loss": 162, "seed": 1}
METRICS = {"mrr": "MRR", "recall_at_10": "recall@10", "cosine_sim": "cosine"}
DECIDED = "first"


def spaces() -> list[dict[str, Any]]:
    """One of each arm: the shipped ones, and infonce's with one option more."""
    folder = Path(shipped[0])
    found = {loss: yaml.safe_load((folder / f"{loss}.yaml").read_text()) for loss in LOSSES}
    return [*found.values(), *(variant(found["infonce"], name) for name in VARIANTS)]


def variant(plain: Mapping[str, Any], name: str) -> dict[str, Any]:
    """infonce's space under another name, with an option of its own searched or fixed."""
    own = VARIANTS[name]
    start = [point | own.get("start", {}) for point in plain["start"]]
    parts = {part: plain.get(part, {}) | own.get(part, {}) for part in ("space", "fixed")}
    return {**plain, **parts, "name": name, "start": start}


def few(data: str, rows: int) -> dict[str, Any]:
    """So many rows of a data set, drawn from all of it."""
    pairs = lt.load_pairs(data)
    kept = np.random.default_rng(0).permutation(len(pairs.inputs))[:rows]
    return {name: np.asarray(getattr(pairs, name))[kept] for name in ("inputs", "targets", "ids")}


def compared(folder: Path, arrays: dict[str, Any], seeds: int) -> dict[str, Any]:
    """One study from launch to comparison, or what is left of it, as far as it is kept."""
    study = lt.launch(spaces(), arrays, study="worth", storage=folder, **BUDGET)
    told = lt.confirm(study, top=1, seeds=seeds).to_dict()
    pairs = make_pairs(arrays, "drawn")
    arms = []
    for row in told["rows"]:
        if row["role"] == "pick":
            with tempfile.TemporaryDirectory() as exported:
                lt.export(study, f"{exported}/best.yaml", loss_fn=row["loss"])
                settings = read_config(Path(exported, "best.yaml")).settings
            own = {name: row[name] for name in ("name", "loss", "loss_fn", "test")}
            seconds = epoch_seconds(TrainConfig.from_flat({**settings, "threads": 1}), pairs)
            arms.append({**own, "parameters": row["cost"]["parameters"], "cpu_seconds": seconds})
    told_pairs = [pair for pair in told["pairs"] if pair["measure"] == "mrr"]
    ridge = {name: told["ridge"][name] for name in ("name", "test")}
    found = {name: told[name] for name in ("winner", "targets", "seeds")}
    return {**found, "arms": arms, "pairs": told_pairs, "ridge": ridge}


def epoch_seconds(config: TrainConfig, pairs: Pairs) -> float:
    """CPU of an epoch with its validation, the least of three: what else the machine does makes it longer.

    On one thread, as a second one that waits counts as if it worked.
    """
    torch.set_num_threads(1)
    trainer = Trainer(config, resident_data(pairs, config, torch.device("cpu")))
    found = []
    for _ in range(3):
        began = time.process_time()
        trainer.run_epoch()
        found.append(time.process_time() - began)
    return min(found)


def kept() -> dict[str, dict[str, Any]]:
    """What is known of each data set."""
    return {name: json.loads(path.read_text()) for name in SETS if (path := KEPT / f"{name}.json").exists()}


def summary(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """MRR of each arm on each set, the best on average first."""
    means: dict[str, dict[str, float]] = {}
    for name, told in found.items():
        for arm in told["arms"]:
            means.setdefault(arm["loss"], {})[name] = arm["test"]["mrr"]["value"]
    best = {name: max(own[name] for own in means.values()) for name in found}
    share = {loss: float(np.mean([own[name] / best[name] for name in found])) for loss, own in means.items()}
    yield f"| test MRR | {' | '.join(found)} | of the best |"
    yield f"|---|{'---|' * (len(found) + 1)}"
    for loss in sorted(means, key=lambda loss: -share[loss]):
        cells = [f"{means[loss][name]:.3f}{against_infonce(loss, found[name])}" for name in found]
        yield f"| `{loss}` | {' | '.join(cells)} | {share[loss]:.1%} |"
    ridge = [f"{told['ridge']['test']['mrr']['value']:.3f}" for told in found.values()]
    yield f"| ridge regression | {' | '.join(ridge)} | |"


def against_infonce(loss: str, told: Mapping[str, Any]) -> str:
    """▲ or ▼ where the difference from infonce is known."""
    for pair in told["pairs"]:
        if {pair["first"], pair["second"]} == {loss, "infonce"} and pair["verdict"] == DECIDED:
            return " ▲" if pair["first"] == loss else " ▼"
    return ""


def variants(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What each variant of infonce adds to it, with 95 % limits of the single difference."""
    yield f"| added to infonce's MRR | {' | '.join(found)} |"
    yield f"|---|{'---|' * len(found)}"
    for name in VARIANTS:
        yield f"| `{name}` | {' | '.join(added(name, told) for told in found.values())} |"


def added(name: str, told: Mapping[str, Any]) -> str:
    """One difference, bold where it is known."""
    pair = next(pair for pair in told["pairs"] if {pair["first"], pair["second"]} == {name, "infonce"})
    sign = 1 if pair["first"] == name else -1
    gap = pair["difference"]
    low, high = sorted((sign * gap["low"], sign * gap["high"]))
    text = f"{sign * gap['value']:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")
    return f"**{text}**" if pair["verdict"] == DECIDED else text


def whole(name: str, told: Mapping[str, Any]) -> Iterator[str]:
    """All figures of one data set, the highest MRR first."""
    yield f"| {name} | {' | '.join(METRICS.values())} | CPU ms an epoch | beats |"
    yield f"|---|{'---|' * (len(METRICS) + 2)}"
    for arm in sorted(told["arms"], key=lambda arm: -arm["test"]["mrr"]["value"]):
        cells = [interval(arm["test"][metric]) for metric in METRICS]
        beaten = sum(pair["first"] == arm["loss"] and pair["verdict"] == DECIDED for pair in told["pairs"])
        yield f"| `{arm['loss']}` | {' | '.join(cells)} | {1000 * arm['cpu_seconds']:.0f} | {beaten or ''} |"
    yield f"| ridge regression | {' | '.join(interval(told['ridge']['test'][metric]) for metric in METRICS)} | | |"


def interval(found: Mapping[str, float]) -> str:
    """A mean and its limits."""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]".replace("-", "−")


def tables() -> Iterator[str]:
    """Markdown: over all sets, the variants of infonce, and each set alone."""
    found = kept()
    yield from (*summary(found), "", *variants(found))
    for name, told in found.items():
        yield from ("", *whole(name, told))


def main() -> None:
    """Run what is missing and keep it, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--rows", type=int, default=2500, help="of each data set")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--table", action="store_true", help="only print the kept tables")
    given = parser.parse_args()
    if not given.table:
        if given.folder is None:
            parser.error("expected the folder of data and studies")
        places = written(given.folder / "data")
        for name in given.sets:
            told = compared(given.folder / name, few(places[name], given.rows), given.seeds)
            made = {"rows": given.rows, "torch": torch.__version__, "losstune": lt.__version__, **BUDGET}
            KEPT.mkdir(exist_ok=True)
            (KEPT / f"{name}.json").write_text(json.dumps({"made": made, **told}, indent=1) + "\n")
    print("\n".join(tables()))


if __name__ == "__main__":
    main()
