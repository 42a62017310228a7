"""What there is to beat: the frozen model with nothing trained, on the test rows that `losstune compare` scores."""

import torch
from trainer.data import load_pairs
from trainer.metrics import embedding_metrics
from trainer.resident import split_tensors
from trainer.splits import split_rows

SHOWN = ("mrr", "recall_at_1", "recall_at_10", "cosine_sim")


def main() -> None:
    """Score definitions' embeddings as they are, and about the training words' mean."""
    pairs = load_pairs("pairs.npz")
    rows = split_rows(pairs, split_seed=0)
    train, test = (split_tensors(pairs, own, torch.device("cpu")) for own in (rows.train, rows.test))
    print(f"{len(rows.test):,} definitions, {len(test.gallery):,} words to find them among")
    for name, center in {"as they are": None, "about the mean word": train.mean_target()}.items():
        scores = embedding_metrics(test.inputs, test.targets, test.gallery, test.positive, center)
        print(f"{name:20}", "  ".join(f"{metric} {scores[metric]:.4f}" for metric in SHOWN))


if __name__ == "__main__":
    main()
