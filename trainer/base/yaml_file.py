"""Strict YAML: what a reader sees is what is read.

PyYAML reads ``1e-3`` as a string, ``no`` as False, ``1:30`` as 90, keeps the last of two equal keys and
expands aliases without limit. Here plain scalars follow YAML 1.2's core schema; duplicate keys, aliases
and tags are refused; depth and size are bounded; and every value remembers its line for error messages.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from losstune.trainer.base.errors import UserError

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
MAX_NODES = 100_000

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NULL_WORDS = ("~", "null", "Null", "NULL")
"""What YAML writes for no value, beside nothing at all."""
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", *NULL_WORDS)),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", "+.Inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlFile:
    """A mapping read from YAML, with the line on which each key or list item stands."""

    name: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def where(self, *path: str | int) -> str:
        """``file:line`` of a value, or of the nearest thing around it that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"


def read_yaml(path: Path) -> YamlFile:
    """Read one mapping from a YAML file.

    Raises:
        UserError: the file can not be read, or is not one strict YAML mapping.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: can not be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES:,} bytes, the most a settings file may have")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> YamlFile:
    """Read one mapping from YAML text; ``name`` stands for the file in messages."""
    try:
        loader = _StrictLoader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UserError(f"{name}:{line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}: {str(error).splitlines()[0]}") from None
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{name}:1: expected a mapping of keys to values")
    lines: dict[KeyPath, int] = {}
    data = _convert(root, (), lines, name)
    return YamlFile(name, data, lines)


def dump_yaml(data: dict[str, Any]) -> str:
    """Block-style YAML in the given key order; ``parse_yaml`` reads it back to equal values."""
    return yaml.dump(data, Dumper=_StrictDumper, sort_keys=False, allow_unicode=True, default_flow_style=False)


class _StrictLoader(yaml.SafeLoader):
    depth = 0
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases (& and *) are not allowed", problem_mark=event.start_mark
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem=f"tags are not allowed, found {event.tag}", problem_mark=event.start_mark
            )
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_NODES:,} values", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _StrictDumper(yaml.SafeDumper):
    """Writes no aliases, and quotes text that ``parse_yaml`` would read as a number: ``12e4567``, ``089``."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """A string, double-quoted unless it reads back as itself."""
        plain = text.isprintable() and isinstance(_plain_scalar(text), str)
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_StrictDumper.add_representer(str, _StrictDumper.represent_text)


def _convert(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], name: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    match node:
        case yaml.MappingNode():
            return _mapping(node, path, lines, name)
        case yaml.SequenceNode():
            return [_convert(item, (*path, i), lines, name) for i, item in enumerate(node.value)]
        case yaml.ScalarNode():
            return node.value if node.style else _plain_scalar(node.value)
    raise AssertionError(node)


def _mapping(node: yaml.MappingNode, path: KeyPath, lines: dict[KeyPath, int], name: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(f"{name}:{line}: a key must be a plain word")
        key = str(key_node.value)
        if key in result:
            raise UserError(f"{name}:{line}: the key {key!r} stands twice, first on line {lines[(*path, key)]}")
        lines[(*path, key)] = line
        result[key] = _convert(value_node, (*path, key), lines, name)
    return result


def _plain_scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        # Longer digits than a double can hold are no setting; int() of millions of digits takes minutes.
        return int(text) if len(text) <= 40 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
