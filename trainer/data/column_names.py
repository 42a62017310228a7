"""Which column of the data is what: ``inputs=anchor,targets=positive``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from losstune.trainer.base.errors import UserError

ROLES = ("inputs", "targets", "ids", "groups", "split", "negatives")
"""What a column can be; it is named so in a file where nothing else is said."""
ONLY_SAID = ("negatives",)
"""What no column is unless that is said, whatever its name: studies of before there was such a role ignore it."""
SHOWN = 12
"""So many names stand in a message at most."""

Columns = str | Mapping[str, str] | None
"""As it is said: text, names by role, or nothing."""


@dataclass(frozen=True)
class ColumnNames:
    """The name in a file of each column that is wanted.

    Attributes:
        said: names by role, of those that were said.
    """

    said: Mapping[str, str]

    @classmethod
    def of(cls, columns: Columns) -> "ColumnNames":
        """From how they are said.

        Raises:
            UserError: not of the form, no role, or a role twice.
        """
        if columns is None:
            return cls({})
        if isinstance(columns, Mapping):
            pairs = [(str(role), str(name)) for role, name in columns.items()]
        else:
            pairs = [_pair(part, columns) for part in columns.split(",")]
        for role, name in pairs:
            if role not in ROLES:
                raise UserError(f"--columns: found {role!r}; allowed: {', '.join(ROLES)}")
            if "," in name or not name:
                raise UserError(f"--columns: {role}: found {name!r}; a name has no comma, and is not empty")
        said = dict(pairs)
        if len(said) < len(pairs):
            raise UserError(f"--columns: found {columns!r}; each of {', '.join(ROLES)} can be said once")
        return cls(said)

    def wanted(self, roles: Iterable[str] = ROLES) -> dict[str, str]:
        """The name of each of these roles, by role, but for those that are only said and were not."""
        return {role: self.said.get(role, role) for role in roles if role in self.said or role not in ONLY_SAID}

    def check(self, names: Iterable[str], roles: Iterable[str], source: str) -> None:
        """Refuse a name that was said and is not among those of the data.

        Raises:
            UserError: says which, and what there is.
        """
        names = list(names)
        for role in roles:
            if role in self.said and self.said[role] not in names:
                found = listed(names)
                raise UserError(
                    f"{source}: no column {self.said[role]!r}, which is to be {role}; "
                    f"found {found}: --columns {role}=NAME"
                )

    def unused(self, names: Iterable[str], roles: Iterable[str] = ROLES) -> tuple[str, ...]:
        """Names that stand for nothing; pandas' own for its index is none that a user gave."""
        wanted = set(self.wanted(roles).values())
        return tuple(name for name in names if name not in wanted and not name.startswith("__index_level_"))

    def __str__(self) -> str:
        return ",".join(f"{role}={name}" for role, name in self.said.items())


def columns_text(columns: Columns) -> str | None:
    """Columns as a study or a file of settings keeps them; None where nothing is said."""
    return str(ColumnNames.of(columns)) or None


def columns_of_roles(roles: Iterable[str]) -> str | None:
    """What is to be said of data whose columns are named by their roles."""
    return columns_text({role: role for role in roles if role in ONLY_SAID})


def listed(names: Iterable[str]) -> str:
    """Some names for a message, in order."""
    names = sorted(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def _pair(part: str, columns: str) -> tuple[str, str]:
    role, equals, name = (word.strip() for word in part.partition("="))
    if not equals:
        raise UserError(f"--columns: found {columns!r}; expected for example inputs=anchor,targets=positive")
    return role, name
