"""What there is to beat: the frozen model with nothing trained, on the test rows that `losstune compare` scores."""

import torch

from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.resident import split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.score.metrics import embedding_metrics

SHOWN = ("mrr", "recall_at_1", "recall_at_10", "cosine_sim")


def main() -> None:
    """Rank the words by their cosine with each definition, as MiniLM embeds both."""
    pairs = load_pairs("pairs.npz")
    test = split_tensors(pairs, split_rows(pairs, split_seed=0).test, torch.device("cpu"))
    scores = embedding_metrics(test.inputs, test.targets, test.gallery, test.positive)
    print(f"{len(test.inputs):,} definitions, {len(test.gallery):,} words")
    print("  ".join(f"{metric} {scores[metric]:.4f}" for metric in SHOWN))


if __name__ == "__main__":
    main()
