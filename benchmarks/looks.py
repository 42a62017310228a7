"""What ``confirm --early`` saves, and whether its claims hold.

    python benchmarks/looks.py saved                # on kept confirmations, a few seconds
    python benchmarks/looks.py claims [WORLD …]     # on simulated ones, about a minute a world
    python benchmarks/looks.py keep NAME PLACE/studies/STUDY    # adds a confirmation of ten seeds to those kept

``looks.json`` has validation scores, settings × seeds × (MRR, cosine similarity), at the epoch of the best MRR: of
three runs of ``make demo``, whose searches differ with the machine's pace, and of the four confirmations of
``worth.py``.

Beside the looks of the product, at the objective alone, ``saved`` has looks at both measures (the larger p counts), and
the most that any plan with these looks could save: where each setting that has lost by p < 0.05 on all ten seeds stops
at the first look. In all three an untuned start stops no tuned setting. ``claims`` counts in simulated confirmations of
four losses whose truth is known.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.bootstrap import Array, studentise
from losstune.tuning.confirm.confirm_runs import runs_by_arm
from losstune.tuning.confirm.looks import ERROR, LOOKS, decided, p_values, tested
from losstune.tuning.confirm.margin import MARGIN
from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.confirm.results import in_common
from losstune.tuning.confirm.statistics import ALPHA, holm
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import open_study

KEPT = Path(__file__).parent / "looks.json"
SEEDS = 10
STUDIES, BATCH, RESAMPLES, TARGETS = 2000, 20, 499, 60
"""Simulated confirmations, those that share their resamples to save time, resamples, test targets."""

Given = NDArray[np.int_]
"""Seeds that each setting gets."""


def given_by_objective(validation: Array, margin: float = 0.0, starts: Sequence[int] = ()) -> Given:
    """The product's looks at the first of the measures of (settings, seeds, measures); some of them are untuned."""
    known = {str(place): dict(enumerate(own)) for place, own in enumerate(validation[..., 0].tolist())}
    stops = decided(known, SEEDS, margin, [str(place) for place in starts]).stops
    return np.array([stops[name].seeds if name in stops else SEEDS for name in known])


def given_by_both(validation: Array, starts: Sequence[int] = ()) -> Given:
    """Looks of the same level at two measures, both of which have to be lost to the same setting."""
    given = np.full(len(validation), SEEDS)
    level = ERROR / len(LOOKS) / len(given) / (len(given) - 1)
    for look in LOOKS:
        going_on = np.flatnonzero(given == SEEDS)
        p = np.maximum(*(p_values(validation[going_on, :look, measure]) for measure in (0, 1)))
        lost = (p <= level) & tested(np.isin(going_on, starts))
        given[going_on[lost.any(axis=0)]] = look
    return given


def saved(validation: Array, looks: Callable[[Array], Given], orders: int = 40) -> float:
    """Share of all runs that need not be trained, a mean over orders of the seeds."""
    rng = np.random.default_rng(0)
    given = [looks(validation[:, rng.permutation(SEEDS)]) for _ in range(orders)]
    return 1 - float(np.mean(given)) / SEEDS


def most_saved(validation: Array, starts: Sequence[int] = ()) -> float:
    """The same where all that ten seeds show to have lost on all measures, uncorrected, stop at the first look."""
    measures = range(validation.shape[2])
    lost = np.max([p_values(validation[..., measure]) for measure in measures], axis=0) < ALPHA
    lost &= tested(np.isin(np.arange(len(validation)), starts))
    return (1 - LOOKS[0] / SEEDS) * float(lost.any(axis=0).mean())


def kept() -> dict[str, dict[str, list[list[float]]]]:
    """Validation scores of the kept confirmations, by name and setting."""
    return dict(json.loads(KEPT.read_text()))


def print_saved() -> None:
    """The table of docs/confirming.md."""
    print("runs saved, %, by looks at  | the objective             | both measures")
    print("               settings     | most  looks  --smallest   | most  looks")
    for name, arms in kept().items():
        both = np.array(list(arms.values()))
        one = both[..., :1]
        starts = [place for place, arm in enumerate(arms) if "-start" in arm]
        shares = [most_saved(one, starts)]
        shares += [saved(one, partial(given_by_objective, margin=margin, starts=starts)) for margin in (0.0, MARGIN)]
        shares += [most_saved(both, starts), saved(both, partial(given_by_both, starts=starts))]
        texts = [f"{100 * share:5.1f}" for share in shares]
        print(f"{name:14} {len(arms):4}         | {'  '.join(texts[:3])}        | {'  '.join(texts[3:])}")


def keep(name: str, folder: Path) -> None:
    """Add a study's newest confirmation, of at least ten seeds for each setting."""
    study = open_study(Home(folder.parent.parent), folder.name)
    plan = latest_finished(study)
    if plan is None or plan.early or plan.seeds < SEEDS:
        raise SystemExit(f"{folder}: expected a confirmation with {SEEDS} seeds for each setting")
    found: dict[str, list[list[float]]] = {}
    for arm, runs in runs_by_arm(study, plan).items():
        best = (max(read_history(run.folder / HISTORY_FILE), key=lambda own: own["val/mrr"]) for run in runs[:SEEDS])
        found[arm] = [[round(own["val/mrr"], 4), round(own["val/cosine_sim"], 4)] for own in best]
    KEPT.write_text(json.dumps({**kept(), name: found}, separators=(",", ":")) + "\n")


class World(NamedTuple):
    """How scores come about: deviations of a loss's luck with a seed, of targets, of the rest, and a score of the sum.

    ``collapses`` is the share of seeds with which a loss falls by three.
    """

    seeds: float
    targets: float
    rest: float
    score: Callable[[Array], Array]
    start: float = 0.0
    collapses: float = 0.0


def plain(latent: Array) -> Array:
    """Normal scores."""
    return latent


def reciprocal(latent: Array) -> Array:
    """Reciprocal ranks."""
    return np.asarray(1 / (1 + np.floor(np.exp(-latent))))


def hit_at_5(latent: Array) -> Array:
    """Whether a rank is at most five."""
    return np.asarray((1 + np.floor(np.exp(-latent)) <= 5).astype(float))


WORLDS = {
    "equal-parts": World(0.4, 1, 3, plain),
    "seeds": World(1, 0.5, 1, plain),
    "targets": World(0.02, 1, 1, plain),
    "rest": World(0.1, 0.01, 2, plain),
    "hits": World(0.4, 0.5, 1, hit_at_5, -1.5),
    "ranks": World(0.4, 0.5, 1, reciprocal, -1.5),
    "collapses": World(0.4, 0.5, 1, plain, collapses=0.1),
}


def simulate(world: World, levels: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Validation means (losses, seeds, 1) and test scores (losses, seeds, targets) of losses with these levels.

    A loss is as lucky with a seed on test rows as on validation rows: the worst case for what is chosen by it. Each
    seed has validation rows of its own, and all losses have the same ones.
    """
    losses, draw = len(levels), rng.standard_normal
    luck = world.seeds * draw((losses, SEEDS, 1)) - 3.0 * (rng.random((losses, SEEDS, 1)) < world.collapses)
    own = world.start + levels[:, None, None] + luck

    def scores(seeds: int) -> Array:
        targets = world.targets * (2 * draw((1, seeds, TARGETS)) + draw((losses, seeds, TARGETS)))
        return world.score(own + targets + world.rest * draw((losses, SEEDS, TARGETS)))

    return scores(SEEDS).mean(axis=2, keepdims=True), scores(1)


def truths(world: World, levels: Array) -> Array:
    """(losses,), the mean score of each, by many draws that all losses have in common."""
    rng = np.random.default_rng(99)
    deviation = np.sqrt(world.seeds**2 + 5 * world.targets**2 + world.rest**2)
    half = rng.standard_normal(1_000_000)
    latent = world.start + deviation * np.concatenate([half, -half])
    fallen, share = latent - 3, world.collapses
    return np.array(
        [(1 - share) * world.score(latent + x).mean() + share * world.score(fallen + x).mean() for x in levels]
    )


class Counts(NamedTuple):
    """Shares in %.

    Attributes:
        stopped: of the losses that are not best.
        false_stops, false_claims: of confirmations that stop a loss no worse than any; that do, or claim that equal
            losses differ on the test split.
        held: of the 95 % limits of all differences, those that hold the truth. of_stopped: of those with a loss that
            stopped. means: of the limits of its own mean.
    """

    stopped: float
    false_stops: float
    false_claims: float
    held: float
    of_stopped: float
    means: float


ONE, OTHER = np.triu_indices(4, 1)


def counts(world: World, ahead: float, *, early: bool, studies: int = STUDIES) -> Counts:
    """Four losses, one of them so many deviations of a seed's validation gap ahead of three equal ones."""
    rng = np.random.default_rng(1)
    gap = ahead * np.sqrt(2 * (world.seeds**2 + (world.targets**2 + world.rest**2) / TARGETS))
    levels = np.array([gap, 0.0, 0.0, 0.0])
    truth = truths(world, levels)
    level = ALPHA - ERROR if early else ALPHA
    stopped, wrong_stops, wrong, held, of_stopped, means = (list[bool]() for _ in range(6))
    for batch in range(studies // BATCH):
        made = [simulate(world, levels, rng) for _ in range(BATCH)]
        given = np.array([given_by_objective(val) if early else np.full(4, SEEDS) for val, _ in made])
        tests = [
            [test[loss, :seeds] for loss, seeds in enumerate(own)] for (_, test), own in zip(made, given, strict=True)
        ]
        gaps = [np.subtract(*in_common(own[a], own[b])) for own in tests for a, b in zip(ONE, OTHER, strict=True)]
        found = np.array(list(limits(gaps, batch))).reshape(BATCH, len(ONE), 3)
        covered = np.abs(found[..., 0] - (truth[ONE] - truth[OTHER])) <= found[..., 1]
        claims = np.array([holm(own[:, 2].tolist()) for own in found]) < level
        false_stop = np.any(given[:, : 1 if ahead else 4] < SEEDS, axis=1)
        stopped += (given[:, 1:] < SEEDS).ravel().tolist()
        false_claim = np.any(claims & (levels[ONE] == levels[OTHER]), axis=1)
        wrong_stops += false_stop.tolist()
        wrong += np.logical_or(false_stop, false_claim).tolist()
        held += covered.ravel().tolist()
        of_stopped += covered[(given[:, ONE] < SEEDS) | (given[:, OTHER] < SEEDS)].tolist()
        short = [(own[loss], truth[loss]) for own in tests for loss in range(4) if len(own[loss]) < SEEDS]
        values = limits([own for own, _ in short], batch)
        means += [abs(value - true) <= half for (value, half, _), (_, true) in zip(values, short, strict=True)]
    shares = (stopped, wrong_stops, wrong, held, of_stopped, means)
    return Counts(*(100 * float(np.mean(own)) if own else float("nan") for own in shares))


def limits(scores: list[Array], seed: int) -> Iterator[tuple[float, float, float]]:
    """Mean, half width of the 95 % limits and p of each of (seeds, targets), whatever their seeds."""
    found: dict[int, tuple[float, float, float]] = {}
    for seeds in sorted({len(own) for own in scores}):
        places = [place for place, own in enumerate(scores) if len(own) == seeds]
        result = studentise(np.stack([scores[place] for place in places]), seed, RESAMPLES)
        each = zip(result.value.tolist(), result.half_widths().tolist(), result.p_values().tolist(), strict=True)
        found.update(zip(places, each, strict=True))
    return (found[place] for place in range(len(scores)))


def print_claims(worlds: list[str]) -> None:
    """One line a world and lead, without looks and with them."""
    print(f"{'':34}{'  '.join(f'{name:>12}' for name in Counts._fields)}")
    for name in worlds or WORLDS:
        for ahead in (0.0, 1.0, 2.0, 3.0):
            for early in (False, True):
                shares = "  ".join(f"{share:12.1f}" for share in counts(WORLDS[name], ahead, early=early))
                print(f"{name:12} ahead {ahead:.0f}  {'looks' if early else 'ten seeds':10}   {shares}", flush=True)


def main() -> None:
    """Print, or keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("saved")
    commands.add_parser("claims").add_argument("worlds", nargs="*", metavar="WORLD")
    adding = commands.add_parser("keep")
    adding.add_argument("name")
    adding.add_argument("folder", type=Path)
    asked = parser.parse_args()
    match asked.command:
        case "saved":
            print_saved()
        case "claims":
            print_claims(asked.worlds)
        case "keep":
            keep(asked.name, asked.folder)


if __name__ == "__main__":
    main()
