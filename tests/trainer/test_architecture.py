"""The training core stands alone: nothing of search is imported by it, or by training from the command line."""

import json
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

import trainer
from tests.trainer.samples import sample_arrays

MODULES = sorted(f"trainer.{module.name}" for module in pkgutil.iter_modules(trainer.__path__))
SEARCH = ["ray", "optuna", "mlflow"]


def loaded_after(program: str, folder: Path) -> set[str]:
    """Top-level modules in a fresh interpreter once it has run a program."""
    report = "import sys, json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program) + "\n" + report],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_no_module_of_the_trainer_loads_anything_of_search(tmp_path: Path) -> None:
    assert "trainer.loop" in MODULES
    loaded = loaded_after("\n".join(f"import {module}" for module in MODULES), tmp_path)
    assert "torch" in loaded
    assert loaded.isdisjoint([*SEARCH, "tuning"])


def test_training_and_predicting_from_the_command_line_load_nothing_of_search(tmp_path: Path) -> None:
    np.savez(tmp_path / "pairs.npz", **sample_arrays())
    program = """
        import sys
        from tuning.cli import main

        def run(line):
            sys.argv = ["losstune", *line.split()]
            try:
                main()
            except SystemExit as end:
                assert not end.code, end.code

        run("train --data pairs.npz --num_epochs 1 --threads 1 --output_dir run --test")
        run("predict --data pairs.npz --checkpoint run/best.pt --output p.npy")
    """
    loaded = loaded_after(program, tmp_path)
    assert {"torch", "trainer", "tuning"} <= loaded
    assert loaded.isdisjoint(SEARCH)
    assert (tmp_path / "p.npy").exists()
