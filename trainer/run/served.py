"""A trained model as one module, for a place where losstune is not."""

import torch
from torch import Tensor, nn

from losstune.trainer.config.model_config import FactoryConfig, ModelConfig
from losstune.trainer.losses import centered, unit
from losstune.trainer.run.trained_model import TrainedModel


class ServedModel(nn.Module):
    """Inputs (N, …) → embeddings (N, d) float32, N from 1. Where the model computes with fractions, of any type.

    Made to be exported: where a model says ``inputs.float()``, ``torch.export`` writes down the type of its example and
    then refuses every other. A copy into rows of the model's type takes any.
    """

    center: Tensor | None

    def __init__(self, trained: TrainedModel, *, for_search: bool) -> None:
        """With ``for_search`` of a model that knows its centre: rows are what its ``predict`` makes for search."""
        super().__init__()
        self.model = trained.model
        self.register_buffer("center", trained.center if for_search else None)
        self.input_dtype = _dtype_of(trained)
        self.for_search = for_search

    def forward(self, inputs: Tensor) -> Tensor:
        """As the class says."""
        if self.input_dtype.is_floating_point:
            inputs = inputs.new_empty(inputs.shape, dtype=self.input_dtype).copy_(inputs)
        else:
            inputs = inputs.clone()  # the caller's, which a user's model may write into
        found: Tensor = self.model(inputs).float()
        return unit(centered(found, self.center)) if self.for_search else found


def _dtype_of(trained: TrainedModel) -> torch.dtype:
    """What a model computes with: the built-in encoder makes fractions of whole numbers, others may look them up."""
    match trained.config.model:
        case ModelConfig():
            return torch.float32
        case FactoryConfig():
            found: torch.dtype = getattr(torch, trained.input_dtype)
            return found
