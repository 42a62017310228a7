"""Joining a Ray cluster that is there already. What Ray would try for minutes is one error within seconds."""

import logging
import socket
import threading

from losstune.trainer.base.errors import UserError, one_line

ANSWER_SECONDS = 10.0


def join(address: str) -> None:
    """Connect this process to a cluster.

    Args:
        address: ``HOST:PORT`` of its head, or ``auto`` for the one that runs on this machine.

    Raises:
        UserError: nothing answers there, this machine is no part of the cluster, or it runs another Ray or Python.
    """
    import ray

    from losstune.tuning.execute.ray_private import is_refusal

    found = head_of(address)
    _check_member(address, found)
    try:
        ray.init(address=found, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        if not is_refusal(error):
            raise
        raise UserError(_refusal(address, error)) from None


def head_of(address: str) -> str:
    """``HOST:PORT`` of the head of the cluster at an address, which answers there.

    Raises:
        UserError: nothing does.
    """
    found = _resolved(address)
    _check_answers(address, found)
    return found


def _resolved(address: str) -> str:
    """``HOST:PORT``, for ``auto`` from the environment or from what runs here."""
    from losstune.tuning.execute.ray_private import cluster_address

    if address.startswith("ray://"):
        raise UserError(
            f"--address {address}: a launch runs on a node of the cluster, not through Ray's client; run it there, "
            "for example with ray job submit, and --address auto"
        )
    try:
        return cluster_address(address)
    except (ConnectionError, ValueError, OSError) as error:
        hint = "no Ray runs on this machine" if address == "auto" else one_line(error)
        raise UserError(f"--address {address}: {hint}; expected HOST:PORT, as ray start --head prints it") from None


def _check_answers(address: str, found: str) -> None:
    """Refuse an address where no head of a cluster answers: Ray itself would try for minutes, and end the process."""
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS / 2).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--address {address}: nothing answers at {found} ({error.__class__.__name__}: {one_line(error)}); is the "
            "cluster up? ray start --head prints the address of its head"
        ) from None
    answered = threading.Event()
    threading.Thread(target=_ask, args=(found, answered), daemon=True).start()
    if not answered.wait(ANSWER_SECONDS):
        raise UserError(
            f"--address {address}: what answers at {found} is not the head of a Ray cluster; the port is the one that "
            "ray start --head prints, 6379 unless told otherwise, not the dashboard's or the client's"
        )


def _ask(found: str, answered: threading.Event) -> None:
    from losstune.tuning.execute.ray_private import ask_head

    try:
        ask_head(found)
    except Exception:
        return
    answered.set()


def _check_member(address: str, found: str) -> None:
    from losstune.tuning.execute.ray_private import is_node

    if not is_node():
        raise UserError(
            f"--address {address}: this machine is no node of the cluster; make it one with ray start --address={found}"
            ", or run the launch on a node, for example with ray job submit"
        )


def _refusal(address: str, error: Exception) -> str:
    """Why Ray would not connect."""
    text = str(error)
    if text.startswith("Version mismatch"):
        lines = [line.strip() for line in text.splitlines() if line.strip().startswith(("Ray:", "Python:"))]
        (their_ray, their_python), (our_ray, our_python) = lines[:2], lines[2:4]
        return (
            f"--address {address}: the cluster has other versions; install the same environment on every node:\n"
            f"{their_ray} in the cluster, {our_ray.removeprefix('Ray: ')} here\n"
            f"{their_python} in the cluster, {our_python.removeprefix('Python: ')} here"
        )
    return f"--address {address}: {one_line(error)}"
