"""Where the user's own modules are found: in their folder first, but under no name of Python's or of our libraries.

The folder of a project may hold a ``queue.py``, an ``mlflow.py`` or a ``ray.py``. Python puts the folder of what it
runs in front of everything else, and then each library that imports one of these names gets the user's file.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OWN = "losstune"
HERE = ""
"""The working folder, whichever it is when something is imported."""
SAFE_PATH = "PYTHONSAFEPATH"
"""Where this is set, Python puts neither the working folder nor that of a script in front of its path."""


def search_in(*folders: str) -> None:
    """From now on the user's modules are found in these folders too, by this process and by those that it starts."""
    if _FINDER not in sys.meta_path:
        # Not with this module, since most commands search no folder; not later, since its imports would ask the finder.
        from losstune.trainer.base.needed_names import needed_names

        _FINDER.needed = needed_names
        sys.meta_path.insert(sys.meta_path.index(PathFinder), _FINDER)
    _FINDER.folders += [folder for folder in folders if folder not in _FINDER.folders]
    # At its end, for what does not ask the finder: processes that the user's code starts, and packages' metadata.
    sys.path += [folder for folder in folders if folder not in sys.path]


def searched_folders() -> tuple[str, ...]:
    """The folders that this process was told of, absolute: for a process that it starts."""
    return tuple(dict.fromkeys(str(Path(folder).absolute()) for folder in _FINDER.folders))


def drivers_folders() -> tuple[str, ...]:
    """Where whoever started this process expects modules to be found: its working folder, and its script's."""
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None) if main.__spec__ is None else None  # python -m has a spec
    beside = [Path(script).absolute().parent] if script and script.endswith(".py") else []
    return tuple(dict.fromkeys(map(str, [Path.cwd(), *beside])))


def name_conflict(module: str) -> str | None:
    """What is found in place of which file of the user's, because it has the same name; None where nothing is.

    Args:
        module: the dotted name of one whose top is loaded.
    """
    name = module.partition(".")[0]
    for folder in (Path(folder).absolute() for folder in _FINDER.folders):
        base = folder.joinpath(*module.split("."))
        for file in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if file.exists() and name in sys.modules and not _lies_in(sys.modules[name], folder) and _is_ours(name):
                return f"{_owner(name)} is found before {file}; give that file another name"
    return None


@contextmanager
def without_users_folders() -> Iterator[None]:
    """What ``multiprocessing`` starts in this block looks for nothing in the user's folders until it is told to.

    That is ``python -c``, which puts the working folder in front, and is then handed the ``sys.path`` of this process.
    """
    path, safe = list(sys.path), os.environ.get(SAFE_PATH)
    sys.path[:] = _path_without(_FINDER.folders)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        sys.path[:] = path
        os.environ.pop(SAFE_PATH)
        if safe is not None:
            os.environ[SAFE_PATH] = safe


class _UsersModules(MetaPathFinder):
    def __init__(self) -> None:
        self.folders: list[str] = []
        self.needed: Callable[[], frozenset[str]] = frozenset

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None:  # part of a package that was found
            return None
        users = PathFinder.find_spec(fullname, self.folders)
        if users is None or users.origin is None:  # a folder without __init__.py gives way to all else, as in Python
            return None
        others = PathFinder.find_spec(fullname, _path_without(self.folders))
        return others if others is not None and _is_ours(fullname) else users


_FINDER = _UsersModules()


def _path_without(folders: Sequence[str]) -> list[str]:
    left_out = {Path(folder).absolute() for folder in folders}
    return [entry for entry in sys.path if Path(entry).absolute() not in left_out]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Whether a module at the top is a file or a package of this very folder; an environment may lie below it."""
    file = getattr(module, "__file__", None)
    places = [Path(file).parent] if file else []
    return bool({folder, folder / module.__name__} & {*places, *map(Path, getattr(module, "__path__", ()))})


def _is_ours(name: str) -> bool:
    """Whether Python or something that losstune needs has a module of this name at its top."""
    return name in sys.stdlib_module_names or name in _FINDER.needed()


def _owner(name: str) -> str:
    if name == OWN:
        return "losstune itself"
    if name in sys.stdlib_module_names:
        return f"Python's own module {name}"
    return f"the package {name}, which losstune needs,"
