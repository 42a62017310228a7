"""The user's own files that a study's numbers come from: of a loss, a model, a function that reads the data."""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from losstune.trainer.base.references import is_reference
from losstune.trainer.base.users_modules import OWN
from losstune.trainer.config.factory import FACTORY
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.study.spec import StudySpec, utc_now


def code_digests(spaces: Iterable[SearchSpace], data_source: str) -> dict[str, str]:
    """SHA-256 of the file of each module that a study names, by the module's name.

    What such a file imports is not followed. A module that this process has not loaded, or that has no file, is left
    out.
    """
    found = {}
    for module in sorted(set(_modules(spaces, data_source))):
        if (path := file_of(module)) is not None:
            found[module] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def file_of(module: str) -> Path | None:
    """The file that a loaded module comes from, None where there is none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if file is not None and Path(file).is_file() else None


def with_code_of_now(spec: StudySpec) -> tuple[StudySpec, list[str]]:
    """The spec with the files' digests as they are now, a change on record, and the modules that have changed.

    A spec of before digests were kept gets those of now, and nothing is known to have changed.
    """
    now = code_digests(spec.search_spaces().values(), spec.data_source)
    before = spec.code or {}
    changed = [module for module, digest in now.items() if before.get(module, digest) != digest]
    changes = spec.changes
    if changed:
        # In other words than a version's change, which MLflow's tags of former runs are read from.
        told = {module: f"SHA-256 {before[module][:12]} before, {now[module][:12]} from then on" for module in changed}
        changes = [*changes, {"at": utc_now(), **told}]
    return spec.model_copy(update={"code": before | now, "changes": changes}), changed


def _modules(spaces: Iterable[SearchSpace], data_source: str) -> Iterator[str]:
    """Those that are not losstune's own."""
    named = [data_source]
    for space in spaces:
        if not space.loss_class.__module__.startswith(f"{OWN}."):
            yield space.loss_class.__module__
        named.append(str(space.fixed.get(FACTORY)))
    yield from (reference.partition(":")[0] for reference in named if is_reference(reference))
