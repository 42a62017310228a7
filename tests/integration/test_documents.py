"""What the documents say of a cluster, done word by word on three nodes of this machine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.reliability.studies import private_tmp
from tests.test_docs import BLOCK, DOCUMENTS, ROOT

pytestmark = pytest.mark.ray

ALONE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "bash", "-c"]
"""A machine of its own: its ports and processes are nobody else's, loopback is all the network there is, and what is
left over ends with its first process."""
NEAR = "10.9.8.7"
BEFORE = f'set -euo pipefail\nip link set lo up\nip addr add {NEAR}/32 dev lo\ncd "$0"\n'
AFTER = "\n! ps -eo args= | grep -v -e '^ps ' -e '^grep ' -e '^bash '"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces of its own, which only root can")


@as_root
def test_a_cluster_as_the_readme_says() -> None:
    (body,) = [body for kind, body in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "bash"]
    with machine() as folder:
        out = done(body, folder)
        assert "Confirmed: that is the mean over 3 fresh seeds" in out
        assert re.search(r"^loss_fn: (cosine|infonce)$", (folder / "best.yaml").read_text(), re.MULTILINE)
        assert (folder / "report.html").stat().st_size > 100_000
        assert {path.name for path in folder.iterdir()} == {"deploy", "home", "best.yaml", "report.html"}


def test_no_other_document_has_a_block_that_nothing_runs() -> None:
    kinds = {(path.name, kind) for path in DOCUMENTS for kind, _ in BLOCK.findall(path.read_text())}
    assert [name for name, kind in kinds if kind == "bash"] == ["README.md"]


@as_root
def test_the_slurm_script_on_one_node() -> None:
    """With stand-ins for what Slurm brings, and a short study."""
    script = (ROOT / "deploy/slurm.sh").read_text()
    short = script.replace("--study team", "--study team --trials 1 --max-epochs 3").replace(
        "confirm team", "confirm team --top 1 --seeds 2"
    )
    with machine() as folder:
        (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
        (folder / "slurm.sh").write_text(short)
        for name, body in {"scontrol": f"echo {NEAR}", "srun": 'exec "$@"'}.items():
            program = folder / "home" / name
            program.write_text(f"#!/bin/bash\n{body}\n")
            program.chmod(0o755)
        slurm = "SLURM_JOB_NODELIST=node-1 SLURM_JOB_NUM_NODES=1 SLURM_CPUS_PER_TASK=2"
        run = f"PATH=$HOME:$PATH {slurm} bash slurm.sh\nsource team.env\nlosstune compare team --json > compared.json"
        done(f"deploy/local.sh start\n{run}\ndeploy/local.sh stop", folder)
        assert json.loads((folder / "compared.json").read_text())["winner"] in ("cosine", "infonce")


@contextmanager
def machine() -> Iterator[Path]:
    """A folder with nothing in it but what a clone has for a team, and a home."""
    with private_tmp() as folder:
        (folder / "deploy").symlink_to(ROOT / "deploy")
        (folder / "home").mkdir()
        yield folder


def done(body: str, folder: Path) -> str:
    """Run commands to a good end on a machine of their own; nothing that they started is left."""
    ended = subprocess.run(
        [*ALONE, f"{BEFORE}{body}{AFTER}", str(folder)],
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": f"{folder}/home",
            **{name: value for name, value in os.environ.items() if name in ("PYTHONPATH", "LANG")},
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout
