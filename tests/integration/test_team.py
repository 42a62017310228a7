"""Studies on a team's set-up: a cluster, a bucket, PostgreSQL and MLflow's server, seen from empty machines."""

import json
import re
import signal
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration import kept
from tests.integration.drivers import Team, wait_during
from tests.integration.nodes import busy_node
from tests.integration.servers import optuna_dashboard, with_driver
from tests.reliability import studies
from tests.reliability.studies import SHORT, undisturbed

ONE_SLOT = SHORT[1:]
EPOCHS, MAX_EPOCHS = 81, 27
THREE_SLOTS = ["mse", "infonce", "--data", "digits", "--study", "study", "--epochs-per-loss", str(EPOCHS)]
THREE_SLOTS += ["--max-epochs", str(MAX_EPOCHS)]
CONFIRM = ["confirm", "study", "--top", "1", "--seeds", "2"]
DELETE = ["delete", "study", "--yes"]


def test_a_node_is_killed_and_all_goes_on_to_the_final_model(team: Team, three_nodes: Any, tmp_path: Path) -> None:
    with team.driver("launch", *THREE_SLOTS, "--address", team.address) as launch:
        node = wait_during(launch, lambda: team.ended() and busy_node(three_nodes), "a trial has ended, another trains")
        three_nodes.remove_node(node, allow_graceful=False)
        out, _ = launch.communicate(timeout=300)
    assert launch.returncode == 0, out
    check_trials(team)
    check_mlflow(team)

    assert "infonce" in team.run(*CONFIRM, "--address", team.address)
    compared = team.json("compare", "study")
    winner = compared["winner"]
    assert winner in ("mse", "infonce")
    assert winner in compared["answer"][0]
    team.run("sync", "study")  # a launch waits for MLflow for half a minute, and a slow machine may take longer
    assert kept.champion(team, "study")["losstune.run"].startswith(winner)

    team.run("report", "study", "--output", f"{tmp_path}/report.html")
    assert compared["answer"][0].split()[0] in (tmp_path / "report.html").read_text()
    team.run("export", "study", "--output", f"{tmp_path}/best.yaml")
    trained = team.run("train", "--config", f"{tmp_path}/best.yaml", "--output_dir", f"{tmp_path}/final", "--test")
    assert "Test" in trained
    assert (tmp_path / "final" / "best.pt").exists()


def check_trials(team: Team) -> None:
    """Each has an end that is no failure, its history is whole, and each loss has spent its budget."""
    curves = kept.stored_curves(team, "study")
    for loss, trials in team.trials("study").items():
        assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}, loss
        spent = {f"{loss}-{t.number:04d}": t.user_attrs["end"]["epochs"] for t in trials}
        assert EPOCHS <= sum(spent.values()) < EPOCHS + 3 * MAX_EPOCHS, spent
        for trial, epochs in spent.items():
            assert sorted(step for name, step in curves[trial] if name == "val/mrr") == list(range(1, epochs + 1))


def check_mlflow(team: Team) -> None:
    """Every run is there, closed, with every number of the histories, and the best of each loss has its files."""
    curves, runs = kept.stored_curves(team, "study"), kept.runs(team, "study")
    assert runs.keys() == {"mse", "infonce", *curves}
    assert {run.info.status for run in runs.values()} <= {"FINISHED", "KILLED"}
    for trial, curve in curves.items():
        assert kept.shown_curves(team, runs[trial]) == curve, trial
    for loss in ("mse", "infonce"):
        best = runs[runs[loss].data.tags["losstune.best_trial"]]
        assert kept.files(team, best) == ["best.pt", "config.yaml"]
        assert [key for key in kept.keys("s3://mlflow/") if best.info.run_id in key and key.endswith("/best.pt")]


def test_optunas_dashboard_shows_the_embedded_default_as_it_is() -> None:
    embedded = undisturbed(*SHORT)
    shown = dashboard_trials(f"sqlite:///{embedded}/studies/study/optuna.db")
    assert shown == {loss: len(trials) for loss, trials in studies.optuna_trials(embedded, "study").items()}


def dashboard_trials(storage: str) -> dict[str, int]:
    """How many trials Optuna's dashboard shows of each of its studies."""
    with optuna_dashboard(storage) as address:
        found = fetched(f"{address}/api/studies")["study_summaries"]
        return {
            summary["study_name"]: len(fetched(f"{address}/api/studies/{summary['study_id']}?after=0")["trials"])
            for summary in found
        }


def fetched(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return json.load(answer)


def test_a_folder_that_no_worker_sees_is_refused(team: Team) -> None:
    out = replace(team, storage=".").run("launch", *ONE_SLOT, "--address", team.address, code=2)
    assert "give --storage s3://… or a folder that every node mounts" in out
    refused = re.findall(r"^node 127\.0\.0\.1 \(\w+\): folder /\S+/studies/study: not seen there", out, re.MULTILINE)
    assert len(refused) == 3


def test_a_killed_launch_goes_on_from_another_machine_as_on_an_undisturbed_one(team: Team) -> None:
    """With one slot: what the embedded default finds, in a bucket and a database, from two empty machines."""
    embedded = undisturbed(*SHORT)
    with team.driver("launch", *ONE_SLOT, "--address", team.address) as launch:
        wait_during(launch, lambda: team.ended() > 1, "two trials have ended")
        launch.send_signal(signal.SIGKILL)
        launch.wait()
    before = [row for row in kept.leaderboard(team, "study") if row[3] in ("COMPLETE", "PRUNED")]
    team.launch(*ONE_SLOT)
    after = kept.leaderboard(team, "study")
    assert [row for row in after if row in before] == before
    assert after == studies.leaderboard(embedded, "study")
    own = json.loads(studies.run(embedded, "status", "study", "--json"))
    assert team.json("status", "study") == own
    shown = dashboard_trials(with_driver(team.study_storage))
    assert shown == {f"study/{loss}": len(trials) for loss, trials in team.trials("study").items()}


def test_a_study_in_use_is_refused_from_another_machine_and_deleted_when_it_is_not(team: Team) -> None:
    long = ["launch", *ONE_SLOT, "--epochs-per-loss", "2000", "--address", team.address]
    with team.driver(*long) as launch:
        wait_during(launch, lambda: team.ended() > 0, "a trial has ended")
        holder = rf"error: study 'study' is in use by process {launch.pid} on {socket.gethostname()}, since 2.*"
        with ThreadPoolExecutor() as threads:
            refused = threads.map(lambda command: team.run(*command, code=2), (long, CONFIRM, DELETE))
            assert all(re.search(holder, out) for out in refused)
        assert team.json("status", "study")["running"]
        launch.send_signal(signal.SIGTERM)
        out, _ = launch.communicate(timeout=30)
    assert launch.returncode == 143, out
    assert not team.json("status", "study")["running"]
    team.run(*DELETE)
    assert kept.keys(f"{team.storage}/studies/") == []
    assert team.trials("study") == {}
    assert "no study 'study'" in team.run("status", "study", code=2)
    with pytest.raises(AssertionError):
        kept.runs(team, "study")
