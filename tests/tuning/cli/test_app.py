"""Study commands as a user types them: real processes, the embedded Ray, signals, pipes."""

import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
import pytest

from tests.conftest import Command

pytestmark = pytest.mark.ray

LOSSTUNE = str(Path(sys.executable).with_name("losstune"))
STUDY = ("--study", "one", "--trials", "4", "--max-epochs", "27", "--concurrency", "1")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LOSSTUNE, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def leaderboard(folder: Path) -> list[object]:
    url = f"sqlite:///{folder / 'studies/one/optuna.db'}"
    trials = optuna.load_study(study_name="infonce", storage=url).trials
    return [(t.number, t.params, t.state.name, t.intermediate_values, t.user_attrs["end"]) for t in trials]


def launch_and_interrupt(folder: Path, *, after: str) -> subprocess.Popen[str]:
    """Launch, and send SIGINT as soon as the first trial has a state on disk."""
    command = [LOSSTUNE, "launch", "infonce", *STUDY]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(folder.glob(after)):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            pytest.fail("the launch ended by itself")
    process.send_signal(signal.SIGINT)
    process.wait(60)
    return process


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where a launch ran to its end into a pipe, and what it printed there."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run(folder, "launch", "infonce", *STUDY)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


@pytest.fixture(scope="module")
def undisturbed(piped: tuple[Path, str]) -> Path:
    return piped[0]


@pytest.mark.slow
def test_an_interrupted_study_ends_with_the_leaderboard_of_an_undisturbed_one(
    undisturbed: Path, tmp_path: Path
) -> None:
    stopped = launch_and_interrupt(tmp_path, after="studies/one/trials/infonce-0000/last.pt")
    assert stopped.returncode == 130
    assert stopped.stderr is not None
    assert "the same command continues study one" in stopped.stderr.read()
    states = json.loads(run(tmp_path, "status", "one", "--json").stdout)
    assert "paused" in {trial["state"] for trial in states["losses"]["infonce"]["trials"]}
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert run(tmp_path, "launch", "--study", "one", "--concurrency", "1").returncode == 0
    assert leaderboard(tmp_path) == leaderboard(undisturbed)


def test_a_pipe_gets_short_plain_lines(piped: tuple[Path, str]) -> None:
    _, printed = piped
    assert re.search(
        r"^\[0:\d\d\] infonce: 0 running, \d pruned, \d done, 0 failed, \d+ epochs, best val/mrr", printed, re.M
    )
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) < 160


def test_the_commands_around_a_study(undisturbed: Path, losstune: Command) -> None:
    root = ("--storage", undisturbed)
    assert re.search(r"infonce .* 0 .* 4|one", losstune("list", *root).out)
    status = losstune("status", "one", *root, "--json")
    assert json.loads(status.out)["best"]["trial"].startswith("infonce-")
    assert "best val/mrr" in losstune("status", "one", *root).out
    exported = losstune("export", "one", *root, "--output", "best.yaml")
    assert exported.code == 0
    assert "picked for being high" in exported.out
    assert Path("best.yaml").exists()
    assert losstune("sync", "one", *root).out == "MLflow has all of study one\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("launch", "mse"), "--study NAME is missing"),
        (("launch", "mse", "--study", "s", "--resume"), "launch has no --resume, and needs none: the same command"),
        (("launch", "--study", "new"), "study 'new' is new: name at least one search space"),
        (("launch", "nope", "--study", "s"), "no search space 'nope': give the path of a YAML file, or one of cosine,"),
        (("launch", "mse", "mse", "--study", "s"), "mse.yaml and mse.yaml are both named mse"),
        (("launch", "mse", "--study", "../x"), "study name '../x': a name is 1 to 64 letters"),
        (("launch", "mse", "--study", "s", "--data", "no.npz"), "--data no.npz: no such file"),
        (("launch", "mse", "--study", "s", "--max-epochs", "0"), "max_epochs: found 0; should be greater than"),
        (("launch", "mse", "--study", "s", "--max_epochs", "9", "--epochs_per_loss", "5"), "epochs_per_loss 5 is less"),
        (("launch", "mse", "--study", "s", "--objective", "val/loss"), "objective: found 'val/loss'; should be"),
        (("launch", "mse", "--study", "s", "--sampler", "grid"), "space → lr: the grid sampler needs choices"),
        (("launch", "mse", "--study", "s", "--time-budget", "soon"), "--time-budget: found 'soon'; expected a time"),
        (("launch", "mse", "--study", "s", "--storage", "file/below"), "file/below/studies/s: can not be written"),
        (("status", "none"), "no study 'none' in "),
        (("export", "none", "--output", "x"), "no study 'none' in "),
        (("sync", "none"), "no study 'none' in "),
        (("delete", "none"), "no study 'none' in "),
        (("ui",), "no mlflow.db in "),
        (("check", "nope.yaml"), "nope.yaml: can not be read: No such file or directory"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(losstune: Command, arguments: tuple[str, ...], message: str) -> None:
    Path("file").write_text("not a folder")
    ended = losstune(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert not Path("studies").exists()


def test_a_batch_larger_than_a_split_is_refused_before_anything_starts(losstune: Command) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    np.savez("small.npz", inputs=rng.normal(size=(60, 3)), targets=rng.normal(size=(60, 3)))
    ended = losstune("launch", "infonce", "--study", "s", "--data", "small.npz")
    assert ended.code == 2
    assert re.search(r"infonce.yaml: batch_size 16: .*small.npz: the val split has 13 rows, fewer than one", ended.err)


def test_delete_asks_and_removes_folder_and_runs(undisturbed: Path, tmp_path: Path, losstune: Command) -> None:
    from shutil import copytree

    from mlflow.tracking import MlflowClient

    copytree(undisturbed, tmp_path / "copy")
    root = ("--storage", tmp_path / "copy")
    assert "nobody to ask; add --yes" in losstune("delete", "one", *root).err
    assert losstune("delete", "one", *root, "--yes").code == 0
    assert not (tmp_path / "copy/studies/one").exists()
    assert MlflowClient(f"sqlite:///{tmp_path}/copy/mlflow.db").get_experiment_by_name("one") is None


def test_mlflow_is_rebuilt_from_nothing(undisturbed: Path, tmp_path: Path, losstune: Command) -> None:
    from mlflow.tracking import MlflowClient

    def picture(uri: str) -> dict[str | None, object]:
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("one")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        return {r.info.run_name: (r.info.status, r.info.end_time, r.data.metrics, r.data.params) for r in runs}

    uri = f"sqlite:///{tmp_path}/rebuilt.db"
    for _ in range(2):  # the second changes nothing
        assert losstune("sync", "one", "--storage", undisturbed, "--tracking-uri", uri).code == 0
        assert picture(uri) == picture(f"sqlite:///{undisturbed}/mlflow.db")


def test_status_is_quick_because_it_loads_little(undisturbed: Path) -> None:
    arguments = ["status", "one", "--storage", str(undisturbed)]
    run_it = f"import sys; from losstune.tuning.cli.app import app; app({arguments}, standalone_mode=False)"
    code = f"{run_it}; print([name for name in ('ray', 'mlflow', 'torch') if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("share", ["half", "-1", "1.5", "nan", "inf"])
@pytest.mark.parametrize("command", ["launch", "confirm"])
def test_a_share_of_a_gpu_that_ray_can_not_give_is_refused(command: str, share: str, losstune: Command) -> None:
    outcome = losstune(command, "mse", f"--gpus-per-trial={share}")
    assert outcome.code == 2
    expected = "expected a share from 0 to 1, a whole number of GPUs, or auto"
    assert outcome.err == f"error: --gpus-per-trial: found {share}; {expected}\n"
