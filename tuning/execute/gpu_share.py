"""``--gpus-per-trial auto``: what share of a GPU a study's trials should have, from a probe on a GPU of each kind."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.users_modules import drivers_folders
from losstune.tuning.execute.gpu_probe import Probed, Settings, probe_gpu
from losstune.tuning.execute.placement import Machine
from losstune.tuning.space.search_space import Point, SearchSpace, typical_point
from losstune.tuning.study.study import Study

_WAIT_SECONDS = 0.2


def probed_share(
    study: Study, data: Any, cpus: int, machines: Sequence[Machine], console: Console, stop: Callable[[], bool]
) -> float:
    """The share, 0 where no machine has a GPU; says what was chosen, and why.

    Args:
        data: Ray's reference to the study's pairs.
        cpus: cores of a trial.

    Raises:
        UserError: the probe failed.
    """
    probing = probing_machines(machines)
    if not probing:
        say(console, "No GPU here: trials train on CPUs")
        return 0.0
    say(console, "Trying how many trials fit a GPU ...")
    spaces, settings = list(study.spec.search_spaces().values()), study.spec.settings
    managed = {**settings.training(study.data_source, cpus, study.spec.columns), "device": "cuda"}
    largest = [{**space.settings(largest_point(space)), **managed} for space in spaces]
    typical = {**spaces[0].settings(typical_point(spaces[0])), **managed}
    found = _probe_each(probing, largest, typical, data, cpus, stop)
    for probed in found:
        line = str(probed)
        say(console, line[0].upper() + line[1:])
    return 1 / min((probed.trials for probed in found), default=1)


def probing_machines(machines: Iterable[Machine]) -> list[Machine]:
    """One machine for each kind of GPU: the one with the fewest cores for each of its GPUs."""
    result: dict[str, Machine] = {}
    for machine in sorted((m for m in machines if m.gpus >= 1), key=lambda m: (m.cpus / m.gpus, m.node)):
        result.setdefault(machine.gpu_kind, machine)
    return list(result.values())


def largest_point(space: SearchSpace) -> Point:
    """The typical point with the largest batch and the largest model of the space: what takes the most memory."""
    point = dict(typical_point(space))
    for parameter in space.parameters:
        name = parameter.name
        if name in point and (name in ("batch_size", "eval_batch") or name.startswith("model.")):
            sizes = [v for v in parameter.domain.extremes if isinstance(v, int | float) and not isinstance(v, bool)]
            point[name] = max(sizes, default=point[name])
    return point


def _probe_each(
    machines: Sequence[Machine],
    largest: Sequence[Settings],
    typical: Settings,
    data: Any,
    cpus: int,
    stop: Callable[[], bool],
) -> list[Probed]:
    """The probe on each machine, all at the same time; nothing where a signal came first."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A task takes one core by default, and Ray repeats one that died: a probe waits for no core, and tells at once.
    on_gpu = ray.remote(num_cpus=0, num_gpus=1, max_retries=0)(probe_gpu)
    tasks = {}
    for machine in machines:
        there = NodeAffinitySchedulingStrategy(machine.node, soft=False)
        most = max(1, int(machine.cpus / machine.gpus // cpus))
        task = on_gpu.options(scheduling_strategy=there).remote(largest, typical, data, most, drivers_folders())
        tasks[task] = machine
    waiting = list(tasks)
    while waiting and not stop():
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_WAIT_SECONDS)
    return [] if stop() else [_result(task, machine) for task, machine in tasks.items()]


def _result(task: Any, machine: Machine) -> Probed:
    import ray

    try:
        probed: Probed = ray.get(task)
    except ray.exceptions.RayError as error:
        if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, UserError):
            raise UserError(f"{machine}: {error.cause}") from None
        last = str(error).strip().splitlines()[-1]
        raise UserError(f"{machine}: --gpus-per-trial auto: the probe failed: {last}; give a number") from None
    return probed
