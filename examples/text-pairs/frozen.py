"""What there is to beat: the frozen model with nothing trained, on the test rows that `losstune compare` scores."""

import losstune as lt

SHOWN = ("mrr", "recall_at_1", "recall_at_10", "cosine_sim")


def main() -> None:
    """Rank the words by their cosine with each definition, as MiniLM embeds both."""
    pairs = lt.load_pairs("pairs.npz")
    test = lt.split_rows(pairs, split_seed=0).test
    scores = lt.score(pairs.inputs, pairs)
    print(f"{len(test):,} definitions, {len(set(pairs.ids[test])):,} words")
    print("  ".join(f"{metric} {scores[metric]:.4f}" for metric in SHOWN))


if __name__ == "__main__":
    main()
