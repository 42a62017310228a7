"""Which names at the top of Python's modules are taken by losstune and by all that it requires, as installed here."""

from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN = "losstune"


@cache
def needed_names() -> frozenset[str]:
    """The names that their distributions install; reads the metadata of all that is installed, half a second."""
    waiting, seen = [Requirement(OWN)], set[str]()
    while waiting:
        asked = waiting.pop()
        if str(asked) not in seen:
            seen.add(str(asked))
            waiting += _requirements(asked)
    distributions = {canonicalize_name(Requirement(asked).name) for asked in seen}
    found = packages_distributions()
    return frozenset(name for name, own in found.items() if distributions & {canonicalize_name(one) for one in own})


def _requirements(asked: Requirement) -> list[Requirement]:
    """What an installed distribution, with the extras that are asked for, requires itself."""
    try:
        lines = map(Requirement, requires(asked.name) or ())
    except PackageNotFoundError:  # it is for another system, or another version of Python
        return []
    extras = asked.extras or {""}
    return [one for one in lines if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras)]
