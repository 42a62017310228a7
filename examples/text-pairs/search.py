"""Find the words for descriptions.

queries.txt has one description a line; :func:`queries` embeds them, for ``losstune predict``. ``python search.py``
prints the words nearest to each: to the frozen embedding, and to what ``losstune predict`` wrote to queries.npy.
"""

from pathlib import Path

import numpy as np
from pairs import Vectors, embed

import losstune as lt

SHOWN = 5


def descriptions() -> list[str]:
    """The lines of queries.txt."""
    return Path("queries.txt").read_text().splitlines()


def queries() -> dict[str, Vectors]:
    """Inputs (N, 384) for the trained model."""
    return {"inputs": embed(descriptions())}


def nearest(vectors: Vectors, words: Vectors) -> list[list[int]]:
    """For each vector (N, d) the rows of the nearest words (W, d) by cosine, nearest first."""
    scores = vectors @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T
    return [[int(row) for row in best] for best in np.argsort(-scores, axis=1)[:, :SHOWN]]


def mean_word(pairs: lt.Pairs, config: lt.TrainConfig) -> Vectors:
    """What to subtract before searching: a model that was trained about the mean target is searched about it too."""
    if not config.center:
        return np.zeros(pairs.targets.shape[1], dtype=np.float32)
    rows = lt.split_rows(pairs, config.split_seed, train_on_val=config.fit == "train+val")
    mean: Vectors = pairs.targets[rows.train].mean(axis=0)
    return mean


def main() -> None:
    """Print the words nearest to each description, before and after the correction."""
    words, pairs = Path("words.txt").read_text().splitlines(), lt.load_pairs("pairs.npz")
    center = mean_word(pairs, lt.load_model("final/best.pt").config)
    frozen = nearest(queries()["inputs"], pairs.targets)
    trained = nearest(np.load("queries.npy") - center, pairs.targets - center)
    for text, before, after in zip(descriptions(), frozen, trained, strict=True):
        print(text)
        print(f"  frozen   {', '.join(words[row] for row in before)}")
        print(f"  trained  {', '.join(words[row] for row in after)}")


if __name__ == "__main__":
    main()
