"""Addresses that can be joined, and the one error where that can not be."""

import socket

import pytest
import ray

from losstune.trainer.base.errors import UserError
from losstune.tuning.execute.join import join
from losstune.tuning.execute.local_ray import ray_running


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes 127.0.0.1 for this machine's address in the network, unless it is told to stay on loopback."""
    monkeypatch.setattr("ray._private.services.resolve_ip_for_localhost", lambda host: host)


@pytest.mark.usefixtures("loopback")
class TestAddressesThatCanNotBeJoined:
    def test_nothing_listens(self) -> None:
        here = ray.util.get_node_ip_address()
        with socket.socket() as free:
            free.bind((here, 0))
            address = f"{here}:{free.getsockname()[1]}"
            with pytest.raises(UserError) as refused:
                join(address)
        assert str(refused.value).startswith(
            f"--address {address}: nothing answers at {address} (ConnectionRefusedError: "
        )
        assert str(refused.value).endswith("is the cluster up? ray start --head prints the address of its head")

    def test_something_else_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("losstune.tuning.execute.join.ANSWER_SECONDS", 1.0)
        here = ray.util.get_node_ip_address()
        with socket.socket() as other:
            other.bind((here, 0))
            other.listen()
            with pytest.raises(UserError, match="is not the head of a Ray cluster; the port is the one that ray start"):
                join(f"{here}:{other.getsockname()[1]}")

    def test_rays_client(self) -> None:
        with pytest.raises(UserError, match="a launch runs on a node of the cluster, not through Ray's client"):
            join("ray://127.0.0.1:10001")

    def test_no_port(self) -> None:
        with pytest.raises(UserError, match="expected HOST:PORT, as ray start --head prints it"):
            join("head")

    def test_another_ray(self, ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        there = ray.__version__
        monkeypatch.setattr(ray, "__version__", "2.0.0")
        with pytest.raises(UserError) as refused, ray_running(ray_address, 1, data_bytes=0):
            pass
        assert str(refused.value).splitlines()[:2] == [
            f"--address {ray_address}: the cluster has other versions; install the same environment on every node:",
            f"Ray: {there} in the cluster, 2.0.0 here",
        ]


class TestWhatRaySaysOfAClusterThatAnswers:
    """All is well with the address, and then ``ray.init`` says no."""

    @pytest.fixture(autouse=True)
    def answering(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("_check_answers", "_check_member"):
            monkeypatch.setattr(f"losstune.tuning.execute.join.{name}", lambda *_: None)

    def refused(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> str:
        def init(**_: object) -> None:
            raise error

        monkeypatch.setattr(ray, "init", init)
        with pytest.raises(UserError) as refused:
            join("10.0.0.7:6379")
        return str(refused.value)

    def test_other_versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = """Version mismatch: The cluster was started with:
            Ray: 2.60.0
            Python: 3.11.2
        This process on node 10.0.0.7 was started with:
            Ray: 2.61.0
            Python: 3.12.1"""
        assert self.refused(RuntimeError(text), monkeypatch) == (
            "--address 10.0.0.7:6379: the cluster has other versions; install the same environment on every node:\n"
            "Ray: 2.60.0 in the cluster, 2.61.0 here\n"
            "Python: 3.11.2 in the cluster, 3.12.1 here"
        )

    @pytest.mark.parametrize("kind", [ConnectionError, RuntimeError, Exception])
    def test_anything_else_in_one_line(self, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
        said = self.refused(kind("Head node temp_dir not found,\n  the raylet may not have started"), monkeypatch)
        assert said == "--address 10.0.0.7:6379: Head node temp_dir not found, the raylet may not have started"

    def test_a_fault_of_ours_stays_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ray, "init", lambda: None)
        with pytest.raises(TypeError):
            join("10.0.0.7:6379")
