"""PostgreSQL or the S3 store goes away during a study: one error, and the same command goes on as if nothing had."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

from tests.integration import kept
from tests.integration.drivers import Team, wait_during
from tests.integration.relay import Relay
from tests.integration.servers import PASSWORD, Postgres, private_folder
from tests.reliability import studies
from tests.reliability.studies import SHORT, undisturbed

ONE_SLOT = SHORT[1:]


def test_postgresql_is_stopped(team: Team, tmp_path: Path) -> None:
    """The other files of the study are in a folder that all see."""
    with private_folder() as folder:
        own = Postgres(folder)
        team = replace(team, storage=str(tmp_path), study_storage=own.uri("postgres"))
        with own.running(), team.driver("launch", *ONE_SLOT, "--address", team.address) as launch:
            wait_during(launch, lambda: team.ended() > 0, "a trial has ended")
            own.stop()
            error = only_error(launch)
        assert re.search(r"postgresql://losstune:\*\*\*@127\.0\.0\.1:\d+/postgres", error)
        assert PASSWORD not in error
        with own.running():
            check_unharmed_and_goes_on(team)
            studies.check_histories(tmp_path, "study")
            team.run("delete", "study", "--yes")
            assert list((tmp_path / "studies").iterdir()) == []
            assert team.trials("study") == {}


def test_the_s3_store_is_gone(team: Team, s3_relay: Relay) -> None:
    with team.driver("launch", *ONE_SLOT, "--address", team.address) as launch:
        wait_during(launch, lambda: team.ended() > 0, "a trial has ended")
        with s3_relay.gone():
            error = only_error(launch)
    assert team.storage in error
    check_unharmed_and_goes_on(team)


def only_error(launch: subprocess.Popen[str]) -> str:
    """What a launch ends with that finds one of its servers gone."""
    out, _ = launch.communicate(timeout=240)
    assert launch.returncode == 2, out
    assert "Traceback" not in out, out
    (error,) = re.findall(r"^error: .*", out, re.MULTILINE | re.DOTALL)
    assert "the same command goes on" in error
    return error


def check_unharmed_and_goes_on(team: Team) -> None:
    """No trial has ended for it, and the next launch ends with the leaderboard of an undisturbed one."""
    expected = studies.leaderboard(undisturbed(*SHORT), "study")
    ended = [row for row in kept.leaderboard(team, "study") if row[3] in ("COMPLETE", "PRUNED", "FAIL")]
    assert [row for row in expected if row in ended] == ended
    team.launch(*ONE_SLOT)
    assert kept.leaderboard(team, "study") == expected
