"""The benchmark of searches, on curves that are made up: what it reads, its model, its workers and its table."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from losstune.tuning.space.search_space import Point
from losstune.tuning.space.settings import StudySettings

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # its modules stand side by side
from search import BUDGETS, LANDSCAPES, LEARNS, keep, learnt_start, shares, summary  # noqa: E402
from search_curves import Curves, LookUp, Run, read_curves, windows  # noqa: E402
from search_simulation import PEERS, Own, Peer, Trace, simulate  # noqa: E402
from surrogate import Surrogate, spreading  # noqa: E402

SPACE = """
    loss_fn: mse
    start: [{lr: 1.0e-2, schedule: constant, batch_size: 16}]
    space:
      lr: {low: 1.0e-4, high: 1.0e-1, log: true}
      batch_size: {choices: [16, 32, 64]}
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 0, high: 4, int: true, when: {schedule: cosine}}
"""
NAMES = ("lr", "batch_size", "schedule", "warmup_epochs")
EPOCHS = 27


def height(lr: float, peak: float) -> float:
    """The last value of a setting, with its peak at a learning rate."""
    return float(0.5 * np.exp(-(np.log10(lr / peak) ** 2)))


def write_curves(
    folder: Path, name: str, count: int = 40, peak: float = 1e-3, noise: float = 0.0, seeds: int = 1
) -> Path:
    """Settings by chance, whose curves rise to their height; written as the benchmark reads them."""
    random = np.random.default_rng(1)
    lr = 10 ** random.uniform(-4, -1, count)
    cosine = random.integers(0, 2, count)
    warmup = np.where(cosine == 1, random.integers(0, 5, count), np.nan)
    settings = np.stack([lr, random.choice([16, 32, 64], count), cosine, warmup], axis=1).repeat(seeds, axis=0)
    rise = 1.0 - np.exp(-np.arange(1, EPOCHS + 1) / 4.0)
    mean = np.array([height(own, peak) for own in lr]).repeat(seeds)[:, None] * rise
    val, test = (mean + noise * random.normal(size=mean.shape) for _ in range(2))
    arrays = {"settings": settings.astype(np.float32), "names": np.array(NAMES), "val": val, "test": 0.9 * test}
    seconds = (settings[:, 1] / 16).astype(np.float32)
    np.savez(folder / f"{name}.npz", **arrays, seconds=seconds, seed=np.tile(np.arange(seeds), count))
    (folder / f"{name}.yaml").write_text(SPACE)
    return folder / f"{name}.npz"


@pytest.fixture
def curves(tmp_path: Path) -> Curves:
    return read_curves(write_curves(tmp_path, "made_mse_27"))


def settings_of(sampler: str = "random", seed: int = 0) -> StudySettings:
    given = {"max_epochs": EPOCHS, "epochs_per_loss": 40 * EPOCHS, "sampler": sampler, "seed": seed}
    return StudySettings.model_validate(given)


def test_rows_are_points_of_the_space_beside_them(curves: Curves) -> None:
    assert len(curves.points) == 40
    assert {type(point["batch_size"]) for point in curves.points} == {int}
    for point in curves.points:
        assert ("warmup_epochs" in point) == (point["schedule"] == "cosine")


def test_seeds_of_one_setting_are_runs_of_one_point(tmp_path: Path) -> None:
    curves = read_curves(write_curves(tmp_path, "made_mse_27", count=10, seeds=3))
    assert curves.runs == [[3 * at, 3 * at + 1, 3 * at + 2] for at in range(10)]


def test_without_a_space_it_is_read_off_the_settings(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    settings = np.stack([10 ** random.uniform(-4, -2, 50), random.choice([16, 32, 64], 50), 0.9 * random.random(50)], 1)
    values = {
        "val": np.ones((50, 5)),
        "test": np.ones((50, 5)),
        "names": np.array(["lr", "batch_size", "model.dropout"]),
    }
    np.savez(tmp_path / "made_infonce.npz", settings=settings, **values)
    space = read_curves(tmp_path / "made_infonce.npz").space
    assert space.loss_fn == "infonce"
    shown = {parameter.name: str(parameter.domain) for parameter in space.parameters}
    assert shown["lr"].endswith(", log")
    assert shown["batch_size"] == "16 | 32 | 64"
    assert shown["model.dropout"].startswith("0 … 0.8")
    assert space.start[0]["batch_size"] == 32  # the shipped space's, as far as it is searched


def test_windows_average_and_spreading_draws_through_them() -> None:
    straight = np.log(np.arange(1, 82))
    assert np.ones(81) @ windows(81) == pytest.approx(np.ones(windows(81).shape[1]))
    inner = slice(1, 60)  # beyond the middle of the last window it is level
    assert (straight @ windows(81) @ spreading(81))[inner] == pytest.approx(straight[inner], abs=0.02)


def test_the_model_tells_settings_that_it_was_not_fitted_on(tmp_path: Path) -> None:
    model = Surrogate(read_curves(write_curves(tmp_path, "made_mse_27", count=50, noise=0.01)))
    assert model.error["explained"] > 0.95
    for lr in (3e-4, 1e-3, 1e-2):
        point: Point = {"lr": lr, "batch_size": 32, "schedule": "constant"}
        assert model.truth(point) == pytest.approx(0.9 * height(lr, 1e-3), abs=0.03)
    assert model.best == pytest.approx(0.45, abs=0.03)


def test_runs_of_the_model_scatter_about_its_mean_as_the_curves_do(tmp_path: Path) -> None:
    model = Surrogate(read_curves(write_curves(tmp_path, "made_mse_27", count=50, noise=0.02)))
    point: Point = {"lr": 1e-3, "batch_size": 32, "schedule": "constant"}
    runs = np.array([model.run(point, np.random.default_rng(seed)).val for seed in range(200)])
    assert runs.mean(axis=0)[-5:] == pytest.approx(np.full(5, 0.5), abs=0.03)
    assert runs.std(axis=0)[-5:].mean() == pytest.approx(0.02, rel=0.5)


def test_near_a_setting_that_diverged_one_diverges(tmp_path: Path) -> None:
    file = write_curves(tmp_path, "made_mse_27")
    arrays = dict(np.load(file))
    bad = arrays["settings"][:, 0] > 2e-2
    arrays["val"][bad, 5:] = np.nan
    np.savez(file, **arrays)
    model = Surrogate(read_curves(file))
    point = max(model.curves.points, key=lambda own: float(own["lr"]))
    assert np.isnan(model.run(point, np.random.default_rng(0)).val[5:]).all()
    assert model.truth(point) == 0.0


def test_looking_up_a_trained_setting_gives_its_own_curve(curves: Curves) -> None:
    found = LookUp(curves)
    for at, point in enumerate(curves.points):
        assert (found.run(point, np.random.default_rng(0)).val == curves.val[at]).all()
        assert found.truth(point) == pytest.approx(curves.test[at] @ windows(EPOCHS)[:, -1])


class Flat:
    """Every setting trains alike, an epoch a second, and is worth its learning rate."""

    best = 1e-1

    def __init__(self, curves: Curves) -> None:
        self.curves = curves

    def run(self, point: Point, random: np.random.Generator) -> Run:
        return Run(np.full(EPOCHS, point["lr"]), 1.0)

    def truth(self, point: Point) -> float:
        return float(point["lr"])


def test_what_is_spent_and_in_hand(curves: Curves) -> None:
    trace = simulate(Own([curves.space], settings_of()), Flat(curves), 10 * EPOCHS, 0.0, seed=0)
    assert trace.epochs == [int(own) for own in trace.seconds]
    steps = np.diff([0, *trace.epochs])
    assert set(steps.tolist()) <= {3, 6, 18}  # from rung to rung
    assert trace.epochs[0] == 3
    assert trace.epochs[-1] >= 10 * EPOCHS > trace.epochs[-2]
    assert (np.diff(trace.share) >= 0).all()  # what looks best is best here
    assert trace.share[0] == pytest.approx(0.1)  # the start: 1e-2 of 1e-1
    assert trace.at(0, "epochs") == 0.0
    assert trace.at(1e9, "epochs") == trace.share[-1]


def test_it_is_the_products_search(curves: Curves) -> None:
    """Trials, their ends and their points, one worker at a time, are those of the product's rules by hand."""
    search = Own([curves.space], settings_of("tpe", seed=3))
    seen = []
    for _ in range(9):
        found = search.next()
        assert found is not None
        number, point = found
        seen.append(point["lr"])
        went_on = search.goes_on(number, 3, point["lr"])
        others = sorted(seen, reverse=True)
        assert went_on == (point["lr"] in others[: max(1, len(seen) // 3)])
        if went_on:
            search.ended(number, EPOCHS, point["lr"], diverged=False)
    assert seen[0] == curves.space.start[0]["lr"]


@pytest.mark.parametrize("name", PEERS)
def test_a_search_is_repeated_by_its_seed(name: str, curves: Curves) -> None:
    def run(seed: int) -> Trace:
        return simulate(PEERS[name](curves.space, settings_of(seed=seed)), LookUp(curves), 8 * EPOCHS, 0.0, seed)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_diverged_run_ends_there(curves: Curves) -> None:
    class Diverging(Flat):
        def run(self, point: Point, random: np.random.Generator) -> Run:
            return Run(np.where(np.arange(EPOCHS) < 4, 0.1, np.nan), 1.0)

    for search in (Own([curves.space], settings_of()), PEERS["median stop"](curves.space, settings_of())):
        trace = simulate(search, Diverging(curves), 3 * EPOCHS, 0.0, seed=0)
        assert set(np.diff(trace.epochs).tolist()) <= {1, 2, 3, 5}
        assert 0.0 < trace.share[-1] <= 1.0


def test_conditions_hold_for_optunas_own_searches(curves: Curves) -> None:
    search = PEERS["BOHB-like"](curves.space, settings_of())
    assert isinstance(search, Peer)
    for _ in range(30):
        found = search.next()
        assert found is not None
        assert ("warmup_epochs" in found[1]) == (found[1]["schedule"] == "cosine")
        search.ended(found[0], EPOCHS, 0.1, diverged=False)


def test_the_judged_set_teaches_its_own_search_nothing(tmp_path: Path) -> None:
    others = [LookUp(read_curves(write_curves(tmp_path, f"{name}_mse_27", peak=1e-3))) for name in ("a", "b")]
    judged = [LookUp(read_curves(write_curves(tmp_path, f"own{peak}_mse_27", peak=peak))) for peak in (1e-4, 1e-1)]
    first, second = (learnt_start(own, [*others, own]) for own in judged)
    assert first == second
    assert first[0]["lr"] == pytest.approx(1e-3, rel=0.3)
    assert learnt_start(others[0], others[:1]) == []


def test_a_summary_averages_files_before_seeds() -> None:
    one = np.array([[[0.5], [0.6]], [[0.7], [0.8]]])
    mean, error = summary([one, one + 0.1])
    assert mean == pytest.approx([0.65, 0.75])
    assert error == pytest.approx([0.1, 0.1])  # over two seeds 0.2 apart


def test_more_training_puts_better_settings_in_hand(curves: Curves) -> None:
    found = shares(LookUp(curves), "random", 6)
    mean, _ = summary([found])
    assert (np.diff(mean[:4]) >= 0).all()
    assert mean[3] > mean[0]


def test_the_command_prints_tables_and_writes_json(tmp_path: Path) -> None:
    for name, peak in (("a_mse_27", 1e-3), ("b_mse_27", 3e-3)):
        write_curves(tmp_path, name, count=20, peak=peak, noise=0.01)
    searches = ["random", f"tpe{LEARNS}"]
    words = ["--curves", tmp_path, "--seeds", "2", "--only", "a_*", "--between", "nearest", "model"]
    program = [sys.executable, ROOT / "benchmarks" / "search.py", *words, "--json", tmp_path / "found.json"]
    done = subprocess.run(
        [*program, "--searches", *searches, "--budgets", "2", "5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 files, 27 epochs, 2 seeds; between trained settings: nearest" in done.stdout
    assert "a_mse_27: 20 settings; last test value, left out: rank 0.9" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["model"]) == {"a_mse_27"}
    assert set(found["model"]["a_mse_27"]) == set(searches)
    assert 0.0 < found["nearest"]["a_mse_27"]["random"]["epochs"]["5"]["mean"] <= 1.0
    assert set(found["nearest"]["a_mse_27"]["random"]["epochs"]) == {"2", "5"}


def test_figures_of_other_files_and_searches_are_kept(tmp_path: Path) -> None:
    figures = tmp_path / "shares.json"
    some, more = np.full((3, 2, 4), 0.5), np.full((2, 2, 4), 0.25)
    keep(figures, "model", "a", {"gp": some})
    keep(figures, "model", "b", {"gp": some})
    keep(figures, "model", "a", {"tpe": more})
    keep(figures, "nearest", "a", {"gp": more})
    found = json.loads(figures.read_text())
    assert {kind: {name: set(own) for name, own in by.items()} for kind, by in found.items()} == {
        "model": {"a": {"gp", "tpe"}, "b": {"gp"}},
        "nearest": {"a": {"gp"}},
    }
    assert found["model"]["a"]["tpe"]["seeds"] == 2
    assert found["model"]["a"]["gp"]["seconds"]["20"] == {"mean": 0.5, "error": 0.0}


IN_THE_DOCS = {
    "Optuna's TPE with its Hyperband": "BOHB-like",
    "Optuna's Hyperband, by chance": "Hyperband",
    "Optuna's TPE with its median rule": "median stop",
    "Syne Tune's ASHA": "Syne Tune: ASHA",
    "Syne Tune's ASHA with BORE, 18 seeds": "Syne Tune: ASHA, BORE",
}


def kept_means(between: str, files: str, search: str) -> list[str]:
    """What ``shares.json`` has of a search, as the docs write it: per cent after 2, 5, 10 and 20 full trainings."""
    figures = json.loads((ROOT / "benchmarks" / "shares.json").read_text())[between]
    curves = [file.stem for file in (ROOT / "benchmarks" / "curves").glob(f"*_{files}.npz")]
    assert len(curves) >= 2
    epochs = [figures[name][search]["epochs"] for name in curves]
    return [f"{100 * sum(own[str(budget)]['mean'] for own in epochs) / len(epochs):.1f}" for budget in BUDGETS]


def test_the_figures_of_the_docs_are_those_that_are_kept() -> None:
    text = (ROOT / "docs" / "spaces.md").read_text()
    section = text[text.index("## Which sampler") : text.index("## YAML, strictly")]
    tables = [part.strip().splitlines()[2:] for part in section.split("\n\n") if part.startswith("|")]
    searches, others = [[[cell.strip() for cell in line.strip("|").split("|")] for line in lines] for lines in tables]
    assert len(searches) == 10
    for name, *cells in searches:
        search = IN_THE_DOCS.get(name, name.replace("`", ""))
        assert cells == [mean for between in LANDSCAPES for mean in kept_means(between, "infonce_27", search)]
    assert len(others) == 8
    for name, between, *cells in others:
        own, former = (kept_means(between, name.replace(", ", "_"), search) for search in ("gp", "tpe"))
        assert cells == [f"{one} ({other})" for one, other in zip(own, former, strict=True)]
    _, _, *by_chance = kept_means("nearest", "infonce_27", "random")
    assert "`random`, for infonce at {} after 10 and {} after 20, is no worse".format(*by_chance) in " ".join(
        section.split()
    )
