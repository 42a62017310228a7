"""What a team has: PostgreSQL, MLflow's server, an S3 store and a Ray cluster of three nodes, all on loopback.

Servers live as long as the session; each test has its own database, bucket and empty MLflow.
"""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from mlflow.tracking import MlflowClient

from losstune.tuning.execute.local_ray import ENVIRONMENT
from tests.integration import servers
from tests.integration.drivers import Team
from tests.integration.nodes import complete
from tests.integration.relay import Relay
from tests.integration.servers import Postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for all tests."""
    with servers.postgres() as own:
        yield own


@pytest.fixture
def postgres_uri(postgres_server: Postgres) -> Iterator[str]:
    """Address of a new database: ``postgresql://user:password@host:port/name``."""
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.run(f"CREATE DATABASE {name}")
    yield postgres_server.uri(name)
    postgres_server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def s3_relay() -> Iterator[Relay]:
    """What stands before the S3 store of all tests, and can make it go away for all."""
    with servers.s3_store() as port:
        yield Relay(port)


@pytest.fixture(scope="session")
def s3_endpoint(s3_relay: Relay) -> Iterator[str]:
    """Address of an S3 store; it and its keys stand in the environment of all that is started later."""
    endpoint = f"http://{servers.HOST}:{s3_relay.port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**servers.AWS, "AWS_ENDPOINT_URL_S3": endpoint}.items():
            patch.setenv(name, value)
        yield endpoint


@pytest.fixture
def bucket_uri(s3_endpoint: str) -> str:
    """``s3://…`` of a new bucket."""
    name = f"test-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def _mlflow_server(postgres_server: Postgres, s3_endpoint: str) -> Iterator[str]:
    postgres_server.run("CREATE DATABASE mlflow")
    boto3.client("s3").create_bucket(Bucket="mlflow")
    with servers.mlflow_server(postgres_server.uri("mlflow"), "s3://mlflow/artifacts") as uri:
        yield uri


@pytest.fixture
def mlflow_server_uri(_mlflow_server: str) -> Iterator[str]:
    """Address of MLflow's server, on PostgreSQL, with its artifacts in ``s3://mlflow/artifacts``; empty."""
    yield _mlflow_server
    client = MlflowClient(_mlflow_server, registry_uri=_mlflow_server)
    for experiment in client.search_experiments():
        if experiment.name != "Default":
            client.rename_experiment(experiment.experiment_id, f"{experiment.name} {time.time_ns()}")
            client.delete_experiment(experiment.experiment_id)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)


@pytest.fixture(scope="session")
def _cluster(s3_endpoint: str) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture
def three_nodes(_cluster: Any) -> Any:
    """A ``ray.cluster_utils.Cluster`` of three nodes with one core each, in which nodes may be killed."""
    complete(_cluster)
    return _cluster


@pytest.fixture
def team(three_nodes: Any, bucket_uri: str, postgres_uri: str, mlflow_server_uri: str) -> Team:
    """All of it together: a cluster, a bucket, a database and MLflow's server."""
    return Team(three_nodes.address, f"{bucket_uri}/losstune", postgres_uri, mlflow_server_uri)


def pytest_configure(config: pytest.Config) -> None:
    """Before a test's module imports Ray, which reads at its import whether its nodes stay on loopback."""
    if config.option.markexpr == "integration":
        os.environ.update(ENVIRONMENT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that stands beside this file takes real servers."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.integration)
