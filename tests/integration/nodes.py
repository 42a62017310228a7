"""Nodes of a Ray cluster on this machine: one core each, killed and replaced."""

from typing import Any

from tests.reliability.studies import training

NODES = 3


def complete(cluster: Any) -> None:
    """Add nodes to a ``ray.cluster_utils.Cluster`` until there are three; the first one is its head."""
    while len(cluster.list_all_nodes()) < NODES:
        cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=10**8, include_dashboard=False)


def busy_node(cluster: Any) -> Any | None:
    """A node other than the head on which a trial trains at this moment."""
    return next((node for node in cluster.worker_nodes if training(_raylet(node))), None)


def _raylet(node: Any) -> int:
    """The process below which all workers of a node are."""
    return int(node.all_processes["raylet"][0].process.pid)
