"""What a fresh interpreter loads: no command, no worker and no tracker waits for a library that it does not need."""

import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import losstune.trainer
from losstune.tuning.execute.local_ray import ENVIRONMENT
from tests.trainer.samples import sample_arrays
from tests.tuning.reported import confirmed, searched

SEARCH = {"ray", "optuna", "mlflow", "losstune.tuning"}
HEAVY = {"torch", "ray", "mlflow", "scipy", "sklearn", "pandas", "plotly"}
"""Each costs a third of a second to two seconds of a core."""
STORAGE = {"numpy", "optuna", "sqlalchemy", "pyarrow"}

UNNEEDED = {
    "--help": HEAVY | STORAGE,
    "launch --help": HEAVY | STORAGE,
    "status study": HEAVY,
    "status study --json": HEAVY,
    "list": HEAVY,
    "compare study": HEAVY - {"scipy"},  # Student's distribution
    "export study --output best.yaml": HEAVY - {"torch"},  # a loss's class knows its settings, and stands in its module
    "check infonce --trials 2": HEAVY
    - {"torch", "mlflow", "pandas", "scipy"},  # it asks MLflow's store, which loads them
}
"""By command: what must not be loaded once it has run."""

UNNEEDED_BY_MODULE = {
    "losstune.tuning.commands.launch": HEAVY - {"torch"},  # Ray comes when the trials do
    "losstune.tuning.commands.program": {"ray", "mlflow", "scipy", "sklearn"},
    "losstune.tuning.commands.sync": HEAVY - {"mlflow", "scipy", "pandas"},  # the tracker; MLflow loads the others
    "losstune.tuning.execute.worker": HEAVY - {"torch", "ray", "pandas"} | {"optuna", "sqlalchemy"},
    "losstune.tuning.report.page": HEAVY - {"plotly"},
}


def loaded_after(program: Iterable[str], folder: Path) -> set[str]:
    """Modules by two parts, and ours in whole too, in a fresh interpreter once it has run these lines."""
    found = "{'.'.join(n.split('.')[:2]) for n in sys.modules} | {n for n in sys.modules if n.startswith('losstune.')}"
    report = f"import json, sys; print(json.dumps(sorted({found})))"
    code = "\n".join([*program, report])
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def loaded_by(*commands: str, folder: Path, before: str = "") -> set[str]:
    """The same once it has run these commands, all of which succeed; ``before`` them these lines."""
    run = """
import sys
from losstune.tuning.cli.app import main

def run(*words):
    sys.argv = ["losstune", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
"""
    return loaded_after([before, run, *(f"run(*{command.split()!r})" for command in commands)], folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that is confirmed, made without training."""
    root = tmp_path_factory.mktemp("home")
    confirmed(searched(root, (4, 4)))
    return root


@pytest.mark.parametrize("command", UNNEEDED)
def test_a_command_loads_nothing_that_it_does_not_need(command: str, home: Path) -> None:
    loaded = loaded_by(command, folder=home)
    assert "typer" in loaded
    assert loaded & UNNEEDED[command] == set()


@pytest.mark.parametrize("module", UNNEEDED_BY_MODULE)
def test_a_process_starts_without_what_it_does_not_need(module: str, tmp_path: Path) -> None:
    loaded = loaded_after([f"import {module}"], tmp_path)
    assert "losstune.tuning" in loaded
    assert loaded & UNNEEDED_BY_MODULE[module] == set()


OF_ANOTHER_COMMAND = {
    "launch infonce --study first": {
        *("commands.confirm", "confirm.compare", "confirm.scoring", "confirm.sentences"),
        *("execute.confirm_tasks", "show.comparison"),
    },
    "confirm first": {"commands.launch", "execute.search_tasks", "search", "show.status"},
}
"""By command that trains: what only the other one needs."""


@pytest.mark.parametrize("command", OF_ANOTHER_COMMAND)
def test_a_command_that_trains_loads_nothing_that_only_another_one_needs(command: str, tmp_path: Path) -> None:
    """Up to its work, which this leaves out; how it ends is loaded by then."""
    name = command.split()[0]
    work = f"import losstune.tuning.commands.{name} as command\ncommand.{name} = lambda *_: sys.exit(0)"
    loaded = loaded_by(command, folder=tmp_path, before=f"import sys\n{work}")
    assert f"losstune.tuning.cli.{name}_end" in loaded
    assert loaded & {f"losstune.tuning.{module}" for module in OF_ANOTHER_COMMAND[command]} == set()


FIRST_PROPOSALS = """
from optuna.storages import InMemoryStorage
from losstune.tuning.search.improvement import FIRST
from losstune.tuning.search.proposals import propose
from losstune.tuning.space.reader import load_space
from losstune.tuning.study.loss_trials import LossTrials

trials = LossTrials(InMemoryStorage(), "mse", load_space("mse"))
for _ in range(FIRST):
    trials.add(propose(trials, "gp", 0), seed=0)
"""


def test_the_first_trials_do_not_wait_for_scipy(tmp_path: Path) -> None:
    loaded = loaded_after(FIRST_PROPOSALS.splitlines(), tmp_path)
    assert "optuna.storages" in loaded
    assert loaded & {"scipy", "sklearn", "threadpoolctl"} == set()


def test_a_worker_has_all_that_a_trial_needs_before_it_has_one(tmp_path: Path) -> None:
    ready = loaded_after([f"import {ENVIRONMENT['RAY_preload_python_modules']}"], tmp_path)
    asked = "from losstune.tuning.execute.worker import TrialTrainable; from losstune.trainer.run.loop import Trainer"
    assert loaded_after([asked], tmp_path) - ready == set()
    assert {"torch", "ray.tune"} <= ready


@pytest.mark.slow
def test_the_tracker_of_a_search_ends_without_torch(tmp_path: Path) -> None:
    searched(tmp_path, (2, 2))
    loaded = loaded_by("sync study", folder=tmp_path)
    assert "mlflow" in loaded
    assert "torch" not in loaded


def test_settings_and_names_are_known_without_torch(tmp_path: Path) -> None:
    loaded = loaded_after(["import losstune.trainer.base.files, losstune.trainer.score.names"], tmp_path)
    configs = [found.name for found in pkgutil.iter_modules(losstune.trainer.config.__path__)]
    loaded |= loaded_after([f"import losstune.trainer.config.{name}" for name in configs], tmp_path)
    assert loaded & {"torch", "numpy"} == set()


def test_no_module_of_the_trainer_loads_anything_of_search(tmp_path: Path) -> None:
    modules = [found.name for found in pkgutil.walk_packages(losstune.trainer.__path__, "losstune.trainer.")]
    assert len(modules) > 40
    loaded = loaded_after([f"import {name}" for name in modules], tmp_path)
    assert "torch" in loaded
    assert loaded & SEARCH == set()


def test_training_and_predicting_from_the_command_line_load_nothing_of_search(tmp_path: Path) -> None:
    np.savez(tmp_path / "pairs.npz", **sample_arrays())
    loaded = loaded_by(
        "train --data pairs.npz --num_epochs 1 --threads 1 --output_dir run --test",
        "predict --data pairs.npz --checkpoint run/best.pt --output p.npy",
        folder=tmp_path,
    )
    assert {"torch", "losstune.trainer", "losstune.tuning"} <= loaded
    assert loaded & SEARCH == {"losstune.tuning"}
    assert (tmp_path / "p.npy").exists()
