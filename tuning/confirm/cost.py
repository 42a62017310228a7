"""What a model costs whoever uses it: parameters, the size of its file, an embedding's dimensions, rows a second."""

from pydantic import BaseModel, ConfigDict

BATCH = 256
"""Rows at once, where many are embedded; else one."""


class Cost(BaseModel):
    """What one model costs.

    Attributes:
        parameters: numbers that it computes with, frozen ones too; not what is only a loss's.
        file_bytes: size of ``best.pt``.
        dims: d, of its embeddings.
        single, batched: rows a second on one core of the machine that confirmed, one row at a time and 256 at a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: int
    file_bytes: int
    dims: int
    single: float
    batched: float
