"""The model that is trained: MiniLM's embedding of a definition, plus a learnt correction."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn


class Correction(nn.Module):
    """x + f(x) with f = 0 before training, so that training starts at the frozen model's own scores."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        last = nn.Linear(hidden, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.f = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), last)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (B, width) of embeddings (B, width)."""
        corrected: Tensor = x + self.f(x)
        return corrected


def build(
    *,
    input_shape: tuple[int, ...],
    output_dim: int,
    hidden: Annotated[int, Field(ge=1)] = 512,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
) -> nn.Module:
    """Build the model for inputs and targets of one width."""
    if input_shape != (output_dim,):
        raise ValueError(f"inputs {input_shape} and targets ({output_dim},) must have one width")
    return Correction(output_dim, hidden, dropout)
