"""Commands on studies that are there, on a study made without Ray."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import Command
from tests.tuning.reported import confirmed, searched


def test_an_export_into_a_pipe_is_the_file_alone(tmp_path: Path) -> None:
    searched(tmp_path, (3, 3))
    command = [sys.executable, "-m", "losstune", "export", "study", "--output", "/dev/fd/1"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert yaml.safe_load(ended.stdout)["source"]["study"] == "study"
    assert ended.stderr.splitlines()[0].startswith("Wrote /dev/fd/1: ")
    assert "Next: " not in ended.stderr


def test_an_export_names_a_command_that_finds_the_file(losstune: Command) -> None:
    searched(Path.cwd(), (1, 1))
    said = losstune("export", "study", "--output", "my best.yaml").out
    assert said.splitlines()[-1] == "Next: losstune train --config 'my best.yaml' --output_dir final --test"


def test_a_sync_that_can_not_catch_up_ends_with_1(losstune: Command) -> None:
    searched(Path.cwd(), (1, 1))
    Path("mlflow.db").write_text("no database, and longer than the header of one would be" * 4)
    ended = losstune("sync", "study")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"error: MLflow's store sqlite:///{Path.cwd()}/mlflow.db can not be used: ")


def test_a_watched_study_is_shown_until_no_launch_is_running(losstune: Command) -> None:
    searched(Path.cwd(), (4, 1))
    shown = losstune("status", "study", "--watch")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines()[0].startswith(
        "infonce: 0 running, 1 pruned, 2 done, 1 failed, 22 epochs, best val/mrr"
    )
    refused = losstune("status", "study", "--watch", "--json")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: --watch shows a table that changes; ")


def test_a_comparison_has_its_answer_alone_or_everything(losstune: Command) -> None:
    confirmed(searched(Path.cwd(), trials=(3, 3)))
    short, everything = losstune("compare", "study").out, losstune("compare", "study", "--all").out
    assert short.startswith("• infonce (infonce-0000) is the choice: test MRR ")
    assert everything.startswith("• infonce (infonce-0000) is the choice: the highest mean val/mrr ")
    assert "\nlosstune compare study --all shows all pairs" in short
    elsewhere = losstune("compare", "study", "--storage", Path.cwd()).out
    assert f"\nlosstune compare study --storage {Path.cwd()} --all shows all pairs" in elsewhere
    assert "too high by" not in short
    assert "too high by" in everything
