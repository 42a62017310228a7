"""Rank a gallery with the model that a study chose, from MLflow's registry. Needs torch and MLflow, not losstune.

    losstune launch infonce cosine --data digits --study first --trials 4 --max-epochs 9
    losstune confirm first --top 1 --seeds 2
    python champion.py first sqlite:///mlflow.db

Digits as that study has them: a left half asks for its right half. The alias champion-for-search is the version that
makes queries as the study ranked them; where the model was trained about the mean target, it is a buffer of that
version, and the gallery is seen from there too. ``@champion`` is the same model without any of that.
"""

import sys

import mlflow
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import normalize

SHOWN = 5


def halves() -> tuple[Tensor, Tensor]:
    """Left and right halves (N, 32) of all digits, grey values from 0 to 1."""
    images = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    return images[:, :, :4].flatten(1), images[:, :, 4:].flatten(1)


def ranked(model: torch.nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """For each input (N, …) the rows (N, G) of the targets (G, d) by cosine, nearest first."""
    center = dict(model.named_buffers()).get("center", torch.zeros(targets.shape[1]))
    gallery = normalize(targets - center)  # once, where a service keeps it
    with torch.no_grad():
        return (model(inputs) @ gallery.T).argsort(dim=1, descending=True)


def main() -> None:
    """Print what is nearest to the first queries, and how often a query's own target is among the nearest."""
    study, store = sys.argv[1:]
    mlflow.set_tracking_uri(store)
    model = mlflow.pytorch.load_model(f"models:/{study}@champion-for-search")
    inputs, targets = halves()
    found = ranked(model, inputs, targets)[:, :SHOWN]
    for query, rows in enumerate(found[:SHOWN].tolist()):
        print(f"left half {query}: right halves {', '.join(map(str, rows))}")
    hits = (found == torch.arange(len(found))[:, None]).any(dim=1).float().mean()
    print(f"own right half among the {SHOWN} nearest of {len(targets)}: {hits:.1%}")


if __name__ == "__main__":
    main()
