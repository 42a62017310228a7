"""The servers are real, each test has its own part of them, and none outlives the tests."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg
from mlflow.tracking import MlflowClient

from tests.integration import servers
from tests.integration.nodes import complete
from tests.reliability.studies import wait_until_gone

STARTS_ALL = """
import sys
from tests.integration.servers import mlflow_server, postgres, s3_store
with postgres() as database, s3_store(), mlflow_server(database.uri("postgres"), "file:///tmp/never-used"):
    print("up", flush=True)
    sys.stdin.read()
"""


def test_a_database_of_postgresql(postgres_uri: str) -> None:
    with psycopg.connect(postgres_uri) as connection:
        (version,) = connection.execute("SELECT version()").fetchone() or ("",)
        tables = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert version.startswith("PostgreSQL")
    assert tables == []


def test_a_bucket(bucket_uri: str) -> None:
    store, bucket = boto3.client("s3"), bucket_uri.removeprefix("s3://")
    store.put_object(Bucket=bucket, Key="a/b", Body=b"content")
    assert store.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"content"


def test_mlflow_hands_artifacts_to_the_bucket(mlflow_server_uri: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("content")
    client = MlflowClient(mlflow_server_uri)
    run = client.create_run(client.create_experiment("study"))
    client.log_artifact(run.info.run_id, str(tmp_path / "file.txt"))
    keys = [entry["Key"] for entry in boto3.client("s3").list_objects_v2(Bucket="mlflow")["Contents"]]
    assert [key for key in keys if run.info.run_id in key and key.endswith("file.txt")]


def test_three_nodes_on_loopback(three_nodes: Any) -> None:
    three_nodes.wait_for_nodes()
    nodes = three_nodes.list_all_nodes()
    assert [node.node_ip_address for node in nodes] == [servers.HOST] * 3
    ours = {process.pid for process in psutil.Process().children(recursive=True)}
    heard = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.pid in ours and connection.status == psutil.CONN_LISTEN
    }
    assert heard <= {servers.HOST, f"::ffff:{servers.HOST}", "::1"}


def test_a_node_that_was_killed_is_replaced(three_nodes: Any) -> None:
    killed = next(iter(three_nodes.worker_nodes))
    three_nodes.remove_node(killed, allow_graceful=False)
    complete(three_nodes)
    assert len(three_nodes.list_all_nodes()) == 3
    assert killed not in three_nodes.list_all_nodes()


def test_servers_die_with_who_started_them() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_ALL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **servers.AWS},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) > 3
        process.send_signal(signal.SIGKILL)
    wait_until_gone(children)
