"""Where trials run: each one's share of a machine, and how many at a time."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from losstune.trainer.base.errors import UserError

REFRESH_SECONDS = 2.0
"""How long a count of slots holds: a cluster's machines come and go."""
_KIND = "accelerator_type:"


@dataclass(frozen=True)
class Resources:
    """What a launch asks for; None is chosen by what is there, ``auto`` by a probe."""

    concurrency: int | None
    cpus_per_trial: int
    gpus_per_trial: float | Literal["auto"] | None


@dataclass(frozen=True)
class Machine:
    """A node of a cluster, by its Ray id: address, CPUs, GPUs, and what kind of GPU where that is known."""

    node: str
    address: str
    cpus: float
    gpus: float
    gpu_kind: str = ""

    def __str__(self) -> str:
        return f"node {self.address} ({self.node[:8]})"

    def room(self, cpus: int, gpus: float) -> int:
        """How many trials fit, each with so many CPUs and such a share of a GPU, or so many whole ones."""
        by_cpu = int(self.cpus // cpus)
        if gpus == 0:
            return by_cpu
        by_gpu = int(self.gpus) * int(1 / gpus + 1e-9) if gpus < 1 else int(self.gpus // gpus)
        return min(by_cpu, by_gpu)


def machines_now() -> list[Machine]:
    """The nodes of the running Ray that are alive."""
    import ray

    found = []
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            kinds = [name.removeprefix(_KIND) for name in has if name.startswith(_KIND)]
            cpus, gpus = has.get("CPU", 0.0), has.get("GPU", 0.0)
            found.append(Machine(node["NodeID"], node["NodeManagerAddress"], cpus, gpus, kinds[0] if kinds else ""))
    return found


class Slots:
    """How trials are placed.

    Attributes:
        cpus: whole cores of a trial.
        gpus: its share of a GPU, or how many; 0 where it trains on CPUs.
    """

    def __init__(self, cpus: int, gpus: float, machines: Callable[[], Sequence[Machine]], wanted: int | None) -> None:
        """Follow the machines.

        Args:
            machines: those that may train, now.
            wanted: trials at a time; None: as many as the machines have room for.
        """
        self.cpus, self.gpus = cpus, gpus
        self._machines = machines
        self._wanted = wanted
        self._count, self._counted = 0, -REFRESH_SECONDS

    def concurrency(self) -> int:
        """Trials at a time, as the machines are now; at least one, which waits where none has room."""
        if self._wanted is not None:
            return self._wanted
        if time.monotonic() - self._counted >= REFRESH_SECONDS:
            self._count, self._counted = max(1, rooms(self._machines(), self.cpus, self.gpus)), time.monotonic()
        return self._count


def rooms(machines: Iterable[Machine], cpus: int, gpus: float) -> int:
    """How many trials fit on all machines together."""
    return sum(machine.room(cpus, gpus) for machine in machines)


def default_share(machines: Iterable[Machine]) -> float:
    """A GPU for each trial where a machine has one."""
    return min(1.0, max((machine.gpus for machine in machines), default=0.0))


def workers_at_start(resources: Resources, tasks: int, cpus: float, gpus: float) -> int:
    """How many workers are sure to train on this machine, and may start before it is known what.

    None where trials share a GPU as a probe will find.

    Args:
        tasks: how many there are at the least.
        cpus: those of the machine.
        gpus: likewise.
    """
    here = Machine("", "", cpus, gpus)
    match resources.gpus_per_trial:
        case None:
            share = default_share([here])
        case "auto":
            share = math.inf if gpus else 0.0
        case given:
            share = given
    room = here.room(resources.cpus_per_trial, share)
    return min(tasks, room, resources.concurrency or room)


def slots(resources: Resources, gpus: float, machines: Callable[[], Sequence[Machine]], *, grows: bool) -> Slots:
    """Place trials: on all cores and GPUs unless told otherwise.

    Args:
        gpus: a trial's share of a GPU.
        machines: those that may train, asked again while the study runs.
        grows: machines may come that are not there yet, if trials wait for them.

    Raises:
        UserError: no machine has room for a trial.
    """
    there, cpus, wanted = machines(), resources.cpus_per_trial, resources.concurrency
    room = rooms(there, cpus, gpus)
    if not room and not (grows and wanted):
        raise UserError(_no_room(there, cpus, gpus, grows=grows))
    spread = spread_share(gpus, sum(machine.gpus for machine in there), wanted or room)
    if rooms(there, cpus, spread) < min(room, wanted or room):  # machines differ: not all could take as many as others
        spread = gpus
    return Slots(cpus, spread, machines, wanted)


def _no_room(machines: Sequence[Machine], cpus: int, gpus: float, *, grows: bool) -> str:
    largest = max(machines, key=lambda machine: (machine.gpus, machine.cpus), default=None)
    has = f"the largest machine has {largest.cpus:g} and {largest.gpus:g}" if largest else "there is no machine"
    hint = "; a cluster that grows when trials wait needs --concurrency" if grows else ""
    return (
        f"no room for a trial: it takes {cpus} CPUs and {gpus:g} GPUs (--cpus-per-trial, --gpus-per-trial), "
        f"and {has}{hint}"
    )


def spread_share(share: float, gpus: float, concurrency: int) -> float:
    """A trial's share of a GPU, raised where needed so that trials spread over all GPUs.

    Ray fills one GPU before it takes the next; a larger share leaves no room to pile up.
    """
    if share <= 0 or gpus <= 1 or share >= 1:
        return share
    per_gpu = -(-concurrency // int(gpus))
    return max(share, 1 / per_gpu)
