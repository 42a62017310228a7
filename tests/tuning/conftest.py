"""One Ray for all tests that need one: two cores, and two GPUs in name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from losstune.tuning.commands.launch import LaunchRequest
from losstune.tuning.execute.local_ray import ENVIRONMENT
from losstune.tuning.execute.placement import Resources
from losstune.tuning.execute.session import Execution
from losstune.tuning.storage.home import Home


@pytest.fixture(scope="session", autouse=True)
def mlflow_is_waited_for() -> Iterator[None]:
    """Whoever looks at MLflow after a launch finds all of it, also where the machine is too busy for that in time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("losstune.tuning.track.process.PATIENCE_SECONDS", 600.0)
        yield


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Address of a Ray that outlives the launches that join it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False, "object_store_memory": 10**8},
        )
        yield cluster.address
        cluster.shutdown()


def request_for(root: Path, address: str | None, *spaces: str, **changes: object) -> LaunchRequest:
    """A launch on CPUs under ``root``; ``changes`` are fields of the request, or study settings."""
    resources = Resources(changes.pop("concurrency", 2), 1, changes.pop("gpus", 0.0))  # type: ignore[arg-type]
    execution = Execution(resources, address, changes.pop("tracking_uri", None))  # type: ignore[arg-type]
    fields = {name: changes.pop(name) for name in ("name", "data", "time_budget") if name in changes}
    defaults = {"name": "study", "data": "digits"}
    return LaunchRequest(
        spaces=list(spaces),
        home=Home(root),
        execution=execution,
        options=changes,
        **{**defaults, **fields},  # type: ignore[arg-type]
    )
