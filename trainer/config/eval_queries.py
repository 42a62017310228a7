"""How many rows of a split are scored where all of them would cost too much."""

from typing import Annotated, Literal

from pydantic import PlainValidator

FEWEST_QUERIES = 1000
"""Fewer rows leave a standard error of up to 0.016 in a mean reciprocal rank, more than many a setting gains."""


def _checked(value: object) -> object:
    if value == "all" or (type(value) is int and value >= FEWEST_QUERIES):
        return value
    raise ValueError(f"should be a whole number of at least {FEWEST_QUERIES}, or all")


EvalQueries = Annotated[int | Literal["all"], PlainValidator(_checked)]
"""So many rows, always the same ones, or all. What they are ranked against, the gallery, is whole in any case."""
