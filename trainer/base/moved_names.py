"""``from trainer.losses import …`` in a user's module means ``losstune.trainer``, as it did when that was its name."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

FORMER = "trainer"
NOW = "losstune.trainer"


def keep_former_names() -> None:
    """From now on the former name is understood in this process, unless the user's own code has that name."""
    if not any(isinstance(finder, _FormerNames) for finder in sys.meta_path):
        # First, because in a clone, where the folder lies at the top, Python would find it there a second time.
        sys.meta_path.insert(0, _FormerNames())


class _FormerNames(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, below = fullname.partition(".")
        if top != FORMER or (not below and _is_the_users()):
            return None
        if below and sys.modules.get(top) is not sys.modules.get(NOW):
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if spec.name == FORMER:
            text = f"{FORMER} is {NOW} now: from losstune import LossConfig, …, or from {NOW}.losses"
            warnings.warn(text, FutureWarning, stacklevel=2)
        module = importlib.import_module(NOW + spec.name.removeprefix(FORMER))
        # The import system writes the former name's spec into the module that it is given.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run under its own name; it gets its own spec back."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def _is_the_users() -> bool:
    found = PathFinder.find_spec(FORMER)
    if found is None:
        return False
    ours = os.path.realpath(importlib.import_module(NOW).__path__[0])
    return ours not in map(os.path.realpath, found.submodule_search_locations or ())
