"""Nodes of a Ray cluster on this machine: one core each, killed and replaced."""

from typing import Any

NODES = 3


def complete(cluster: Any) -> None:
    """Add nodes to a ``ray.cluster_utils.Cluster`` until there are three; the first one is its head."""
    while len(cluster.list_all_nodes()) < NODES:
        cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=10**8, include_dashboard=False)
