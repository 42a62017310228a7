"""Where the first NaN or infinity of a computation arises: the operation, and the line of Python that asked for it.

Used of torch's private parts are ``TorchDispatchMode``, which sees each operation of both passes, and
``torch._C._current_autograd_node``, which says of which operation the backward pass is at work: the public anomaly mode
knows NaN alone, and raises. The tests fail where a later torch has them otherwise.
"""

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_C: Any = torch._C
_TORCH = str(Path(torch.__file__).parent)
_OURS = Path(__file__).parents[2]
_STORED = re.compile(r'File "(?P<file>.+)", line (?P<line>\d+), in ')
_UNKNOWN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh"}
"""Operations whose result is whatever was in memory, or what ``torch.tensor`` was given."""
_BACKWARD = "_engine_run_backward"
"""The function of torch's that a backward pass runs in."""
_READ = "_local_scalar_dense"
"""That by which ``float(tensor)`` and ``tensor.item()`` read a number."""


@dataclass(frozen=True)
class Origin:
    """Where a tensor stopped being finite.

    Attributes:
        kind: ``NaN`` or ``inf``.
        operation: torch's name of it, ``exp`` or ``the gradient of log``.
        place: ``own/loss.py:12 (OwnLoss.forward)``, "" if none is known.
        wanted: it was put there, as a mask's −inf, or came in from outside: alone no mistake.
        order: how many came before it.
    """

    kind: str
    operation: str
    place: str
    wanted: bool
    order: int

    def __str__(self) -> str:
        what = f"{self.kind} put in by" if self.wanted else f"first {self.kind} in"
        return f"{what} {self.operation}" + (f" at {self.place}" if self.place else "")


def first_nonfinite(work: Callable[[], Iterable[Tensor]], modules: Mapping[str, nn.Module]) -> Origin | None:
    """The origin of what is not finite in the tensors that ``work`` returns; None if all are finite.

    Those count too of which it reads a number, as ``float`` does.

    Args:
        work: a forward pass, and a backward pass if there is one; slow here, but with the same numbers.
        modules: whose parts are told by name, ``{"model": …}``.
    """
    names = {
        id(part): f"{top}.{name}" for top, whole in modules.items() for name, part in whole.named_modules() if name
    }
    tracing = _Tracing(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this mode is slow
        with torch.autograd.set_detect_anomaly(True, check_nan=False), tracing:
            made = [*work(), *tracing.read]
    found = (tracing.origin_of(tensor) for tensor in made if _nonfinite(tensor))
    return min((origin for origin in found if origin), key=lambda origin: (origin.wanted, origin.order), default=None)


class _Tracing(TorchDispatchMode):
    """Follows what is not finite from tensor to tensor, back to the operation that made it of finite numbers."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.read: list[Tensor] = []
        self._names = names
        self._origins: dict[int, tuple[Tensor, Origin]] = {}  # by storage, with a tensor that keeps that alive
        self._functions: dict[tuple[str, int], str] = {}

    def origin_of(self, tensor: Tensor) -> Origin | None:
        known = self._origins.get(tensor.untyped_storage().data_ptr())
        return known and known[1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tree_leaves((args, kwargs))
        before = [value for value in given if isinstance(value, Tensor) and _nonfinite(value)]
        came = [self.origin_of(value) for value in before]  # before it runs: it may write into what it is given
        had_nan = any(bool(value.isnan().any()) for value in before)
        put_in = any(isinstance(value, float) and value - value != 0 for value in given)
        frames = list(_frames())
        self._functions |= {(f.f_code.co_filename, f.f_lineno): f.f_code.co_qualname for f in frames}
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == _READ:
            self.read += before
        for value in tree_leaves(result):
            if name not in _UNKNOWN and isinstance(value, Tensor) and _nonfinite(value):
                kind = "NaN" if value.isnan().any() else "inf"
                made = kind == "NaN" and not had_nan  # of infinities, which may have been wanted
                origin = min((o for o in came if o), key=lambda o: (o.wanted, o.order), default=None)
                if origin is None or (origin.wanted and made):
                    wanted = (bool(before) or put_in) and not made
                    origin = self._new(name, kind, frames, wanted)
                self._origins[value.untyped_storage().data_ptr()] = value, origin
        return result

    def _new(self, name: str, kind: str, frames: list[FrameType], wanted: bool) -> Origin:
        origin = Origin(kind, f"`{name.strip('_')}`", self._place(frames), wanted, len(self._origins))
        node = _C._current_autograd_node()
        if node is None:
            return origin
        forward = re.sub(r"(?<=[a-z\d])(?=[A-Z])", "_", node.name().rpartition("Backward")[0]).lower()
        backward = takewhile(lambda frame: frame.f_code.co_name != _BACKWARD, frames)
        own = [frame for frame in backward if _is_users(frame.f_code.co_filename)]  # the user's own backward pass
        stored = (_STORED.search(text) for text in node.metadata.get("traceback_", ()))
        lines = [(match["file"], int(match["line"])) for match in stored if match]
        place = self._place(own) if own else self._text(*_chosen(_inside(lines)))
        return replace(origin, operation=f"the gradient of `{forward or name}`", place=place)

    def _place(self, frames: list[FrameType]) -> str:
        """The line, and the part of the model or loss that it works in, where that is not the line's own."""
        file, line = _chosen([(frame.f_code.co_filename, frame.f_lineno) for frame in reversed(frames)])
        acting = (self._names.get(id(frame.f_locals.get("self")), "") for frame in frames)
        part = next(filter(None, acting), "")
        return self._text(file, line) + (f", in {part}" if part else "")

    def _text(self, file: str, line: int) -> str:
        return f"{_shown(file)}:{line} ({self._functions.get((file, line), '?')})" if file else ""


def _frames() -> Iterator[FrameType]:
    """What has called this operation, the innermost first, as far out as :func:`first_nonfinite`."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code is not first_nonfinite.__code__:
        yield frame
        frame = frame.f_back  # type: ignore[assignment]


def _inside(lines: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Of lines from the outermost to the innermost, those within :func:`first_nonfinite`."""
    last = max((index for index, (file, _) in enumerate(lines) if file == __file__), default=-1)
    return lines[last + 1 :]


def _chosen(lines: list[tuple[str, int]]) -> tuple[str, int]:
    """The innermost line of the user's own, else of ours; ("", 0) if there is neither."""
    outside = [line for line in lines if not line[0].startswith(_TORCH)]
    return next(iter([*filter(lambda line: _is_users(line[0]), reversed(outside)), *reversed(outside)]), ("", 0))


def _is_users(file: str) -> bool:
    return not file.startswith((_TORCH, str(_OURS)))


def _shown(file: str) -> str:
    """Ours as ``losstune/…``, the user's relative to the working folder where it lies there."""
    base = Path.cwd() if _is_users(file) else _OURS.parent
    return str(Path(file).relative_to(base)) if Path(file).is_relative_to(base) else file


def _nonfinite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.element_size() == 1 or tensor.layout != torch.strided:
        return False
    return not bool(tensor.isfinite().all())
