"""Asking the nodes of a cluster: on a real Ray, with nodes that really differ."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.pairs import Pairs
from losstune.tuning.commands.launch import launch
from losstune.tuning.execute.local_ray import ENVIRONMENT, ray_running
from losstune.tuning.execute.nodes import Nodes, token_in, wait_if_unlike
from losstune.tuning.execute.placement import machines_now
from losstune.tuning.execute.requirements import Needs
from tests.reliability.studies import STUDY, check_ended, optuna_trials, raylet, start, training, wait_for
from tests.tuning.conftest import request_for
from tests.tuning.samples import stored

QUIET = Console(quiet=True)
SMALL: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 10**8}


def test_nodes_that_are_like_this_one_serve(ray_address: str, tmp_path: Path) -> None:
    with ray_running(ray_address, 1, data_bytes=0), token_in(tmp_path) as token:
        nodes = Nodes(Needs(losses=("mse", "infonce"), token=token))
        assert nodes.machines() == []
        nodes.check(QUIET, lambda: False)
        assert nodes.machines() == machines_now()
        assert nodes.refusal() == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_node_does_not_see_is_said(ray_address: str, tmp_path: Path) -> None:
    with ray_running(ray_address, 1, data_bytes=0), token_in(tmp_path) as token:
        nodes = Nodes(Needs(token=token))
        token.unlink()
        with pytest.raises(UserError) as refused:
            nodes.check(QUIET, lambda: False)
    first, second = str(refused.value).splitlines()
    assert first == "the cluster can not serve this study; give --storage s3://… or a folder that every node mounts:"
    assert second.endswith(f": folder {tmp_path}: not seen there, seen here")


def test_a_worker_on_a_node_that_differs_trains_nothing_and_tells(ray_address: str) -> None:
    with ray_running(ray_address, 1, data_bytes=0):
        nodes = Nodes(Needs())
        nodes.check(QUIET, lambda: False)
        there = nodes.expected.here["torch"]
        expected = replace(nodes.expected, here={**nodes.expected.here, "torch": "1.0.0"})
        worker = ray.remote(num_cpus=1)(wait_if_unlike).remote(expected)
        while not nodes.refusal():
            assert ray.wait([worker], timeout=0) == ([], [worker])
        ray.cancel(worker, force=True)
    assert nodes.refusal().splitlines()[0].startswith("a node can not serve this study; install the same environment")
    assert nodes.refusal().endswith(f": torch: {there} there, 1.0.0 here")


def test_a_token_of_a_launch_that_was_killed_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".launched-1").touch()
    with token_in(tmp_path) as token:
        assert list(tmp_path.iterdir()) == [token]


@contextmanager
def cluster(cpus: int) -> Iterator[Any]:
    """A head that trains on so many cores; nodes are added by the test."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, **SMALL})
        try:
            yield cluster
        finally:
            cluster.shutdown()


def path_with(*folders: Path) -> dict[str, str]:
    """The environment of a node on which these folders come first."""
    return {"PYTHONPATH": ":".join([*map(str, folders), os.environ.get("PYTHONPATH", "")])}


def other_torch(folder: Path) -> Path:
    """Where a node finds another version of torch."""
    (folder / "torch-1.0.0.dist-info").mkdir(parents=True)
    (folder / "torch-1.0.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0.0\n")
    return folder


@pytest.mark.slow
def test_every_node_that_differs_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "losstune.py").write_text("raise ImportError('no losstune here')\n")
    with cluster(cpus=1) as ray_cluster:
        ray_cluster.add_node(num_cpus=1, env_vars=path_with(other_torch(tmp_path / "other")), **SMALL)
        ray_cluster.add_node(num_cpus=1, env_vars=path_with(bare), **SMALL)
        with pytest.raises(UserError) as refused:
            launch(request_for(tmp_path, ray_cluster.address, "mse", trials=1, max_epochs=3), QUIET)
    first, *lines = str(refused.value).splitlines()
    assert (
        first == "the cluster can not serve this study; install the same environment and the same code on every node:"
    )
    texts = sorted(line.partition("): ")[2] for line in lines)
    assert [text.partition(" here")[0].partition(", ")[0] for text in texts] == [
        "can not run losstune: ImportError: no losstune",
        "torch: 1.0.0 there",
    ]
    assert stored(tmp_path / "studies" / "study", "mse") == []


@pytest.mark.slow
def test_a_node_that_comes_is_counted_once_it_has_answered(tmp_path: Path) -> None:
    with cluster(cpus=1) as ray_cluster, ray_running(ray_cluster.address, 1, data_bytes=0):
        nodes = Nodes(Needs())
        nodes.check(QUIET, lambda: False)
        assert len(nodes.machines()) == 1
        ray_cluster.add_node(num_cpus=1, **SMALL)
        counted = [len(nodes.machines())]
        while counted[-1] < 2:
            counted.append(len(nodes.machines()))
        coming = ray_cluster.add_node(num_cpus=1, env_vars=path_with(other_torch(tmp_path)), **SMALL)
        while not nodes.refusal():
            assert len(nodes.machines()) == 2
        assert nodes.refusal().splitlines()[1].endswith("torch: 1.0.0 there, " + nodes.expected.here["torch"] + " here")
        assert coming.node_id[:8] in nodes.refusal()


@pytest.mark.slow
def test_data_is_sent_once_to_each_node_and_read_in_place() -> None:
    """Two workers on each of three nodes: all three stores hold the data, and no worker has a copy of its own."""

    class Reader(tune.Trainable):  # here, because workers do not find this module, and so get what is in it
        """A worker that tells whether its data is a copy."""

        def _setup_logdir(self) -> None:
            """Ray's makes a folder in the user's home."""

        def setup(self, config: dict[str, Any], pairs: Pairs | None = None) -> None:
            assert pairs is not None
            self._pairs = pairs

        def step(self) -> dict[str, Any]:
            return {"own": self._pairs.inputs.flags.owndata or self._pairs.inputs.flags.writeable}

    inputs = np.random.default_rng(0).standard_normal((60_000, 64), dtype=np.float32)
    pairs = Pairs("made", inputs, inputs[:, :8], np.arange(len(inputs)), None, "")
    with cluster(cpus=2) as ray_cluster:
        for _ in range(2):
            ray_cluster.add_node(num_cpus=2, **SMALL)
        with ray_running(ray_cluster.address, 1, data_bytes=0):
            data = ray.put(pairs)
            reader = ray.remote(num_cpus=1)(tune.with_parameters(Reader, pairs=data))
            nodes = [machine.node for machine in machines_now()]
            pinned = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes for _ in range(2)]
            readers = [reader.options(scheduling_strategy=there).remote(config={}) for there in pinned]
            assert not any(result["own"] for result in ray.get([each.train.remote() for each in readers]))
            where = ray.experimental.get_object_locations([data])[data]
            assert sorted(where["node_ids"]) == sorted(nodes)


@pytest.mark.slow
def test_a_study_uses_a_node_that_comes_and_goes_on_when_it_is_gone(tmp_path: Path) -> None:
    """Without ``--concurrency`` trials are as many as the cluster has room for."""
    with cluster(cpus=1) as ray_cluster:
        staying = raylet(ray_cluster.head_node)
        budget = ["--max-epochs", "27", "--epochs-per-loss", "270"]
        process = start(tmp_path, "launch", *STUDY, "--address", ray_cluster.address, *budget)
        wait_for(lambda: training(staying), 120, "the first node trains")
        coming = ray_cluster.add_node(num_cpus=1, **SMALL)
        wait_for(lambda: training(staying) and training(raylet(coming)), 120, "both nodes train")
        ray_cluster.remove_node(coming, allow_graceful=False)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    check_ended(tmp_path, "study", 2, 270, 27)
    ends = [trial.user_attrs["end"] for trials in optuna_trials(tmp_path, "study").values() for trial in trials]
    assert [end["reason"] for end in ends if end["state"] == "failed"] == []
