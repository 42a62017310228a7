"""How many trials train well on one GPU, measured with processes like theirs. Knows torch and the trainer, not Ray.

Memory: one process trains and evaluates the largest settings, each after the other as a worker does, and what the GPU
has less of is counted, CUDA's own context included. Speed: more and more processes train the same typical setting at
once, until they take the memory or the cores, or all together train hardly faster than fewer did.
"""

import multiprocessing
import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.users_modules import search_in, searched_folders, without_users_folders
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.device import pick_device
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.train import set_threads
from losstune.tuning.storage.scratch import private_folder

Settings = Mapping[str, Any]
"""Flat training settings, complete."""

MARGIN = 1.2
"""A trial's memory over what its first batches took: fragments, the copy of its best weights."""
NEARLY = 0.9
"""Of the best total speed: fewer trials that reach this much are preferred, each of them is faster."""
TRAIN_SECONDS = 2.0
BATCHES = 3
"""Batches until the optimizer's state is there and the memory of a step is known."""
GATHERED_ROWS = 4096
"""About so many rows are trained between two looks at the clock."""
_ANSWER_SECONDS = 180.0


@dataclass(frozen=True)
class Probed:
    """What was measured on a GPU.

    Attributes:
        gpu: its name.
        total: bytes of its memory.
        peak: bytes that the largest setting takes, with its process; more than ``total`` where it found no room.
        limit: processes that there is memory for, and cores.
        speeds: processes at once → batches a second of all together.
    """

    gpu: str
    total: int
    peak: int
    limit: int
    speeds: Mapping[int, float]

    @property
    def trials(self) -> int:
        """How many should share the GPU."""
        return choose(self.speeds)

    def __str__(self) -> str:
        several = f"{self.trials} trials share" if self.trials > 1 else "1 trial at a time on"
        memory = f"the largest setting takes {self.peak / 2**30:.1f} of {self.total / 2**30:.1f} GiB"
        if self.peak > self.total:
            memory = f"the largest setting finds no room in its {self.total / 2**30:.1f} GiB"
        more = {count: speed / self.speeds[1] for count, speed in self.speeds.items() if count > 1}
        if not more:
            return f"{several} a GPU ({self.gpu}): {memory}"
        counts, gains = ", ".join(map(str, more)), ", ".join(f"{gain:.1f}" for gain in more.values())
        return f"{several} a GPU ({self.gpu}): {memory}; {counts} at once train {gains} times as fast as one"


def fitting(peak: int, total: int) -> int:
    """How many processes of so many bytes a GPU has memory for; at least one, that is told when there is no room."""
    return max(1, int(total / (peak * MARGIN)))


def next_count(speeds: Mapping[int, float], limit: int) -> int | None:
    """How many processes to try next, up to a limit: twice as many, while the last doubling gained something."""
    if not speeds:
        return 1
    last = max(speeds)
    before = max((speed for count, speed in speeds.items() if count < last), default=0.0)
    if last >= limit or speeds[last] * NEARLY <= before:
        return None
    return min(2 * last, limit)


def choose(speeds: Mapping[int, float]) -> int:
    """The fewest processes whose speed together is nearly the best seen."""
    best = max(speeds.values())
    return min(count for count, speed in speeds.items() if speed >= NEARLY * best)


def probe_gpu(
    largest: Sequence[Settings], typical: Settings, pairs: Pairs, most: int, folders: Sequence[str]
) -> Probed:
    """Measure on the GPU that this process sees.

    Args:
        largest: settings that take the most memory, one of each loss.
        typical: the setting whose speed counts.
        most: trials that the machine has cores for, for each of its GPUs.
        folders: where the user's modules are found.

    Raises:
        UserError: torch sees no GPU, or a setting can not be trained; says why.
    """
    search_in(*folders)
    if not torch.cuda.is_available():
        raise UserError("--gpus-per-trial auto: torch sees no GPU here; install torch for CUDA, or give a number")
    with shared(pairs) as file:
        peak = memory(largest, file)
        total = torch.cuda.mem_get_info()[1]
        limit = min(most, fitting(peak, total))
        return Probed(torch.cuda.get_device_name(), total, peak, limit, speeds(typical, file, limit))


def memory(largest: Sequence[Settings], file: Path) -> int:
    """Bytes that a process takes on the GPU which trains these settings one after the other."""
    free, total = torch.cuda.mem_get_info()
    with _process(_train_largest, file, largest) as connection:
        more = _answer(connection)  # bytes at the peak over those that the process holds now
        return total + 1 if more is None else free - torch.cuda.mem_get_info()[0] + int(more)


def speeds(typical: Settings, file: Path, limit: int, seconds: float = TRAIN_SECONDS) -> dict[int, float]:
    """Batches a second of 1, 2, 4, … processes together, up to a limit, as far as there is a gain."""
    result: dict[int, float] = {}
    with ExitStack() as stack:
        processes: list[Connection] = []
        while (count := next_count(result, limit)) is not None:
            new = [stack.enter_context(_process(_train_typical, file, typical)) for _ in range(count - len(processes))]
            for connection in new:
                _answer(connection)  # it is ready
            processes += new
            for connection in processes:
                connection.send(seconds)
            result[count] = sum(_answer(connection) for connection in processes)
    return result


@contextmanager
def shared(pairs: Pairs) -> Iterator[Path]:
    """The data in a file that each process reads."""
    with private_folder() as folder:
        file = folder / "pairs"
        with file.open("wb") as stream:
            pickle.dump(pairs, stream, protocol=5)
        yield file


@contextmanager
def _process(target: Any, file: Path, work: Any) -> Iterator[Connection]:
    """A process of our own, and the line to it; it ends with the block."""
    context = multiprocessing.get_context("spawn")  # CUDA can not be used in a process forked from one that has it.
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(target, theirs, file, work, searched_folders()), daemon=True)
    with without_users_folders():
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.kill()
        process.join()


def _answer(connection: Connection) -> Any:
    """What a process found.

    Raises:
        UserError: it failed, died, or does not answer.
    """
    try:
        found = connection.recv() if connection.poll(_ANSWER_SECONDS) else "it does not answer"
    except EOFError:
        found = "its process died"
    if isinstance(found, str):
        raise UserError(f"--gpus-per-trial auto: the probe failed: {found}; give a number")
    return found


def _run(target: Any, connection: Connection, file: Path, work: Any, folders: Sequence[str]) -> None:
    """In a process of its own: do the work, or tell why not."""
    search_in(*folders)
    try:
        with file.open("rb") as stream:
            target(connection, pickle.load(stream), work)
    except (EOFError, BrokenPipeError):
        return  # nobody listens any more
    except Exception as error:
        connection.send(f"{type(error).__name__}: {one_line(error)}")


def _train_largest(connection: Connection, pairs: Pairs, largest: Sequence[Settings]) -> None:
    """Some batches and an evaluation of each; sends the peak less what is held at the end, None if it had no room."""
    peak = 0
    try:
        for settings in largest:
            torch.cuda.reset_peak_memory_stats()
            trainer = _trainer(settings, pairs)
            trainer.run_batches(BATCHES)
            if trainer.data.val is not None:
                trainer.evaluate(trainer.data.val)
            peak = max(peak, torch.cuda.max_memory_reserved())
            del trainer
            torch.cuda.empty_cache()
    except torch.OutOfMemoryError:
        connection.send(None)
        return
    connection.send(peak - torch.cuda.memory_reserved())
    connection.recv()  # hold the context until the other side has looked


def _train_typical(connection: Connection, pairs: Pairs, typical: Settings) -> None:
    """Train for as long as each message says, and send the batches a second; the first thing sent says: ready."""
    trainer = _trainer(typical, pairs)
    trainer.run_batches(BATCHES)
    size, rows = trainer.config.batch_size, len(trainer.data.train)
    at_once = max(1, min(rows, GATHERED_ROWS) // size)
    connection.send(True)
    while True:
        seconds = connection.recv()
        _synchronize(trainer)
        began, batches = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - began) < seconds:
            trainer.run_batches(at_once)
            _synchronize(trainer)
            batches += at_once
        connection.send(batches / elapsed)


def _synchronize(trainer: Trainer) -> None:
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)


def _trainer(settings: Settings, pairs: Pairs) -> Trainer:
    config = set_threads(TrainConfig.from_flat(settings))
    return Trainer(config, resident_data(pairs, config, pick_device(config.device)))
