"""Seeds follow from a study's own, and from nothing of the machine."""

from losstune.tuning.study.seeds import derived_seed


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derived_seed(0, "infonce", 7) == 6708926857262846646
    seeds = {derived_seed(seed, loss, number) for seed in (0, 1) for loss in ("mse", "cosine") for number in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
