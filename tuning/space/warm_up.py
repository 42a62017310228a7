"""Whether trials are long enough for the warm-up that a space gives them."""

from collections.abc import Sequence

from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import StudySettings

WARM_UP = "warmup_epochs"


def warm_up_notes(spaces: Sequence[SearchSpace], settings: StudySettings) -> list[str]:
    """A line for each longest warm-up that no trial is longer than, with the spaces that have it.

    It is no error: a search that is short on purpose may keep a space that was made for longer ones.
    """
    names: dict[int, list[str]] = {}
    for space in spaces:
        if (longest := _longest(space)) >= settings.max_epochs:
            names.setdefault(longest, []).append(space.name)
    return [
        f"{WARM_UP} is up to {longest} in {', '.join(names[longest])}, a trial has {settings.max_epochs} epochs: so "
        f"warmed up it never trains at its lr; --max-epochs {longest + 1} or more is long enough"
        for longest in sorted(names)
    ]


def _longest(space: SearchSpace) -> int:
    """Epochs; 0 where a space names none, or derives them."""
    found = [value for p in space.parameters if p.name == WARM_UP for value in p.domain.extremes]
    found += [space.fixed[WARM_UP]] if WARM_UP in space.fixed else []
    return max((int(value) for value in found if isinstance(value, int)), default=0)
