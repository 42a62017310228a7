"""Find the word for a description, with the frozen model alone and with the trained correction.

``python search.py DESCRIPTION...`` prints the nearest words of each.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from pairs import Vectors, embed

from trainer.config import TrainConfig
from trainer.data import Pairs, load_pairs
from trainer.predict import load_model
from trainer.splits import split_rows

CHECKPOINT = Path("final/best.pt")
SHOWN = 5


def nearest(queries: Vectors, words: Vectors) -> list[list[int]]:
    """For each query (N, d) the rows of the nearest words (W, d) by cosine, nearest first."""
    scores = queries @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T
    return [[int(row) for row in best] for best in np.argsort(-scores, axis=1)[:, :SHOWN]]


def mean_word(pairs: Pairs, config: TrainConfig) -> Vectors:
    """What to subtract before searching: a model that was trained about the mean target is searched about it too."""
    if not config.center:
        return np.zeros(pairs.targets.shape[1], dtype=np.float32)
    rows = split_rows(pairs, config.split_seed, train_on_val=config.fit == "train+val")
    mean: Vectors = pairs.targets[rows.train].mean(axis=0)
    return mean


def main(texts: list[str]) -> None:
    """Embed each text, correct it, and print the words nearest to it before and after."""
    trained, pairs = load_model(CHECKPOINT), load_pairs("pairs.npz")
    words = Path("words.txt").read_text().splitlines()
    center = mean_word(pairs, trained.config)
    frozen = embed(texts)
    corrected = trained.predict(torch.from_numpy(frozen)).numpy()
    before = nearest(frozen, pairs.targets)
    after = nearest(corrected - center, pairs.targets - center)
    for text, *found in zip(texts, before, after, strict=True):
        print(text)
        for name, rows in zip(("frozen", "trained"), found, strict=True):
            print(f"  {name:8} {', '.join(words[row] for row in rows)}")


if __name__ == "__main__":
    main(sys.argv[1:])
