"""What a study needs on every machine, and what a machine has of it: versions, code, folders."""

import hashlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.references import is_reference, resolve
from losstune.trainer.base.users_modules import drivers_folders, search_in
from losstune.trainer.config.loss_registry import loss_config_class
from losstune.trainer.data.npy import MappedArray
from losstune.trainer.data.pairs import Pairs
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.study.versions import versions_now

OWN = "losstune"
SEEN, UNSEEN = "seen", "not seen"

Found = Mapping[str, str]
"""What a node has: for each thing that a study needs, a version, a digest, ``seen``, or what is wrong with it."""


@dataclass(frozen=True)
class Needs:
    """What a study needs on every node.

    Attributes:
        losses: names of losses, or references.
        factories: references of model factories.
        folders: where the driver finds the user's modules.
        data: a folder that workers open themselves.
        token: a file in the study's folder; None where workers do not use that folder.
    """

    losses: tuple[str, ...] = ()
    factories: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    data: Path | None = None
    token: Path | None = None


@dataclass(frozen=True)
class Expected:
    """What a study needs, how the driver has it, and the key under which a worker tells that its node is otherwise."""

    needs: Needs
    here: Found
    key: str


def needs_of(spaces: Iterable[SearchSpace], pairs: Pairs, token: Path | None) -> Needs:
    """What the spaces and the data of a study name."""
    spaces = list(spaces)
    factories = [value for space in spaces for value in _factories(space)]
    on_disk = any(isinstance(rows, MappedArray) for rows in (pairs.inputs, pairs.targets))
    return Needs(
        losses=tuple(space.reference for space in spaces),
        factories=tuple(dict.fromkeys(factories)),
        folders=drivers_folders(),
        data=Path(pairs.source) if on_disk else None,
        token=token,
    )


def _factories(space: SearchSpace) -> Iterator[str]:
    name = "model.factory"
    choices = [value for p in space.parameters if p.name == name for value in p.domain.values or ()]
    for value in (space.fixed.get(name), *choices):
        if is_reference(value):
            yield str(value)


def found_here(needs: Needs) -> Found:
    """What this process has of it. Runs on the driver and on every node."""
    search_in(*needs.folders)
    version = versions_now()
    found = version | {"python": ".".join(version["python"].split(".")[:2])}  # patch releases change no number
    found[f"code of {OWN}"] = _digest(importlib.import_module(OWN))
    for name in needs.losses:
        found[f"loss {name}"] = _user_code(lambda name=name: loss_config_class(name))
    for name in needs.factories:
        found[f"model {name}"] = _user_code(lambda name=name: resolve(name, "model.factory"))
    if needs.data is not None:
        found[f"data {needs.data}"] = SEEN if needs.data.is_dir() else UNSEEN
    if needs.token is not None:
        found[f"folder {needs.token.parent}"] = _folder(needs.token)
    return found


def _user_code(load: Any) -> str:
    """Digest of the sources of the package that something is from, or why it can not be imported."""
    try:
        module = sys.modules[load().__module__]
    except UserError as error:
        return one_line(error)
    return "ours" if module.__name__.partition(".")[0] == OWN else _digest(module)


def _digest(module: ModuleType) -> str:
    """Of all sources of the package that a module belongs to, 12 hexadecimal digits."""
    top = sys.modules[module.__name__.partition(".")[0]]
    digest = hashlib.sha256()
    for root in getattr(top, "__path__", []):
        # followlinks: in a clone our own package holds links to its parts, which Path.rglob would pass by.
        found = (Path(folder) / name for folder, _, names in os.walk(root, followlinks=True) for name in names)
        for source in sorted(path for path in found if path.suffix == ".py"):
            digest.update(str(source.relative_to(root)).encode() + b"\0" + source.read_bytes())
    if not hasattr(top, "__path__") and top.__file__:
        digest.update(Path(top.__file__).read_bytes())
    return digest.hexdigest()[:12]


def _folder(token: Path) -> str:
    if not token.exists():
        return UNSEEN
    return SEEN if os.access(token.parent, os.W_OK) else "can not be written"


def differences(here: Found, there: Found) -> list[str]:
    """What another node has otherwise, one line each."""
    names = [name for name, value in here.items() if there.get(name) != value]
    return [f"{name}: {there.get(name, 'none')} there, {here[name]} here" for name in names]


def advice(lines: Sequence[str]) -> str:
    """What to do about differences of nodes: lines as ``node 10.0.0.7 (3f2a91c0): torch: …``."""
    wanted = []
    if any(": folder " not in line and ": data " not in line for line in lines):
        wanted.append("install the same environment and the same code on every node")
    if any(": folder " in line for line in lines):
        wanted.append("give --storage s3://… or a folder that every node mounts")
    if any(": data " in line for line in lines):
        wanted.append("put the data at the same path on every node")
    return "; ".join(wanted)
