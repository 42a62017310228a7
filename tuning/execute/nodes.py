"""Whether every node of a cluster has what a study needs, as this process has it.

Numbers of nodes that differ can not be compared, and a worker that can not reach the study's folder trains for
nothing. Nodes are asked before a study starts, and each one that comes later before it is counted on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.tuning.execute.placement import Machine, machines_now
from losstune.tuning.execute.requirements import Expected, Found, Needs, advice, differences, found_here

ANSWER_SECONDS = 60.0
"""How long a node may take to answer: it imports Python, torch and the user's code, perhaps from a network drive."""
QUIET_SECONDS = 2.0
"""A check that takes longer says so."""
POLL_SECONDS = 2.0
_TOKEN, _KEY = ".launched-", "losstune-refused-"


def wait_if_unlike(expected: Expected) -> None:
    """On a worker: nothing is trained on a node that lacks something; the driver is told, and ends the study.

    Raises:
        RuntimeError: the driver did not.
    """
    if lines := differences(expected.here, found_here(expected.needs)):
        import ray

        from losstune.tuning.execute.ray_private import tell_driver

        node = Machine(ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), 0, 0)
        tell_driver(expected.key, "\n".join(f"{node}: {line}" for line in lines))
        time.sleep(ANSWER_SECONDS)
        raise RuntimeError("; ".join(lines))


@contextmanager
def token_in(folder: Path) -> Iterator[Path]:
    """A file in a study's folder by which other machines see whether the folder is theirs too."""
    for left in folder.glob(f"{_TOKEN}*"):  # of a launch that was killed
        left.unlink(missing_ok=True)
    token = folder / f"{_TOKEN}{uuid4().hex}"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


class Nodes:
    """The nodes of a cluster that train: those that were asked, and have what the study needs."""

    def __init__(self, needs: Needs) -> None:
        """Nobody is asked yet."""
        self.expected = Expected(needs, found_here(needs), key=f"{_KEY}{uuid4().hex}")
        self._asked: dict[str, Any] = {}
        self._good: set[str] = set()
        self._refusal = ""
        self._polled = -POLL_SECONDS
        self._alive: list[Machine] = []

    def check(self, console: Console, stop: Callable[[], bool]) -> None:
        """Ask all nodes that are there and can train, and wait for their answers.

        Raises:
            UserError: some lack something, or do not answer; lists them.
        """
        began, told, lines = time.monotonic(), False, []
        asked = [machine for machine in machines_now() if machine.cpus]
        self._ask(asked)
        while (waiting := [m for m in asked if m.node in self._asked]) and not stop():
            seconds = time.monotonic() - began
            if seconds > ANSWER_SECONDS:
                lines += [f"{machine}: does not answer within {ANSWER_SECONDS:.0f} s" for machine in waiting]
                break
            if seconds > QUIET_SECONDS and not told:
                say(console, f"Asking {len(asked)} nodes of the cluster whether they have what this study needs ...")
                told = True
            lines += self._hear(waiting, 0.2)
        if lines:
            raise UserError(f"the cluster can not serve this study; {advice(lines)}:\n" + "\n".join(lines))

    def machines(self) -> list[Machine]:
        """Those that may train, as they are now; one that has come is asked, and counts once it has answered well."""
        self._poll()
        return [machine for machine in self._alive if machine.node in self._good]

    def refusal(self) -> str:
        """Why a node that came can not train, empty while all can: the study has to stop, for Ray would use it."""
        self._poll()
        return self._refusal

    def _poll(self) -> None:
        if time.monotonic() - self._polled < POLL_SECONDS:
            return
        self._alive, self._polled = machines_now(), time.monotonic()
        self._ask([m for m in self._alive if m.cpus and m.node not in self._good and m.node not in self._asked])
        lines = self._hear([m for m in self._alive if m.node in self._asked], 0.0) or self._told()
        if lines:
            self._refusal = f"a node can not serve this study; {advice(lines)}:\n" + "\n".join(lines)

    def _told(self) -> list[str]:
        """What a worker says of its node: it may have started before the node was asked, or after it has changed."""
        from losstune.tuning.execute.ray_private import told

        return told(self.expected.key).splitlines()

    def _ask(self, machines: Sequence[Machine]) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # A task takes one core by default: on a node that trains it would wait for one, and this one takes none.
        look = ray.remote(num_cpus=0, max_retries=0)(found_here)
        for machine in machines:
            there = NodeAffinitySchedulingStrategy(machine.node, soft=False)
            self._asked[machine.node] = look.options(scheduling_strategy=there).remote(self.expected.needs)

    def _hear(self, machines: Sequence[Machine], seconds: float) -> list[str]:
        """Take in the answers that are there, or come within so many seconds; returns what is wrong, line by line."""
        import ray

        by_answer = {self._asked[machine.node]: machine for machine in machines}
        answers, _ = ray.wait(list(by_answer), num_returns=len(by_answer), timeout=seconds) if by_answer else ([], [])
        lines = []
        for answer in answers:
            machine = by_answer[answer]
            del self._asked[machine.node]
            wrong = _wrong(answer, self.expected.here)
            if not wrong:
                self._good.add(machine.node)
            elif machine.node in {alive.node for alive in machines_now()}:  # one that has just died is no node any more
                lines += [f"{machine}: {line}" for line in wrong]
        return lines


def _wrong(answer: Any, here: Found) -> list[str]:
    import ray

    try:
        return differences(here, ray.get(answer))
    except ray.exceptions.RayError as error:
        return [f"can not run losstune: {str(error).strip().splitlines()[-1]}"]
