"""The temperature of a softmax over cosines: fixed, or learnt as in CLIP."""

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from losstune.trainer.config.loss_config import LossConfig
from losstune.trainer.losses.base import add_gradient

LARGEST_SCALE = 100.0
"""The largest factor on cosines that is learnt (Radford et al., 2021, 2.5), which keeps the temperature at 0.01."""


class TemperatureConfig(LossConfig):
    """The parameters that losses over cosine / temperature share."""

    temperature: float = Field(
        0.07, ge=0.001, le=10, description="softmax temperature; 0.05 hard, 0.07 balanced, 0.10 soft"
    )
    learn_temperature: bool = Field(False, description="train the temperature too, from there, down to 0.01")

    @model_validator(mode="after")
    def _within_reach(self) -> "TemperatureConfig":
        if self.learn_temperature and self.temperature < 1 / LARGEST_SCALE:
            raise ValueError(f"temperature {self.temperature}: with learn_temperature it is 0.01 or more")
        return self


class Temperature(nn.Module):
    """Divides cosines by the temperature. A learnt one is held as log(1 / temperature), so that steps are relative."""

    def __init__(self, start: float, *, learnt: bool) -> None:
        super().__init__()
        self._fixed = start
        self.log_scale = nn.Parameter(torch.tensor(-math.log(start))) if learnt else None

    def forward(self, cosines: Tensor) -> Tensor:
        """Scores of cosines of any shape."""
        if self.log_scale is None:
            return cosines / self._fixed
        with torch.no_grad():  # the parameter itself: a clamp in the graph would leave it no gradient to come back by
            self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
        return cosines * self.log_scale.exp()

    def gradient(self, to_scores: Tensor, cosines: Tensor, share: float) -> Tensor:
        """Gradient of the cosines, from ``share`` times that of their scores; a learnt temperature gets its own.

        ``to_scores`` is overwritten.
        """
        if self.log_scale is None:
            return to_scores.mul_(share / self._fixed)
        to_cosines = to_scores.mul_(self.log_scale.detach().exp().mul_(share))
        add_gradient(self.log_scale, (to_cosines * cosines).sum().to(self.log_scale.dtype))
        return to_cosines

    def parts(self) -> dict[str, Tensor]:
        """What is worth logging: a temperature that is learnt."""
        return {} if self.log_scale is None else {"temperature": (-self.log_scale.detach()).exp()}
