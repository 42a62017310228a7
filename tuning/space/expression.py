"""Arithmetic over parameters, for ``derived`` settings: ``1 - cosine_weight``. Nothing else is evaluated."""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MAX_LENGTH = 200
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


@dataclass(frozen=True)
class Expression:
    """Numbers, parameter names, ``+ - * / //`` and parentheses."""

    text: str
    names: frozenset[str]
    tree: ast.expr = field(compare=False, repr=False)  # syntax trees compare by identity

    @classmethod
    def parse(cls, text: str) -> "Expression":
        """Read an expression.

        Raises:
            ValueError: it holds anything but arithmetic.
        """
        if len(text) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        try:
            tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError("not an arithmetic expression") from None
        names: set[str] = set()
        _check(tree, names)
        return cls(text, frozenset(names), tree)

    def value(self, parameters: Mapping[str, object]) -> float:
        """Evaluate with numbers for all names.

        Raises:
            ValueError: division by zero, too large a number, or a parameter that is no number.
        """
        try:
            return _value(self.tree, parameters)
        except ZeroDivisionError:
            raise ValueError("division by zero") from None
        except OverflowError:
            raise ValueError("too large a number") from None


def _check(node: ast.expr, names: set[str]) -> None:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return
        case ast.Name() | ast.Attribute():
            names.add(_name(node))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            _check(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, names)
            _check(right, names)
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not allowed; use numbers, parameter names, + - * / // and ()")


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name):
            return f"{_name(owner)}.{name}"
    raise ValueError(f"{ast.unparse(node)!r} is not a parameter name")


def _value(node: ast.expr, parameters: Mapping[str, object]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, parameters))
        case ast.BinOp(left=left, op=binary, right=right):
            return _BINARY[type(binary)](_value(left, parameters), _value(right, parameters))
    found = parameters[_name(node)]
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{_name(node)} is {found!r}, not a number")
    return found
