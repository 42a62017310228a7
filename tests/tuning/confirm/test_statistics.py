"""Statistics of a confirmation: simulated studies with a known truth, pieces against SciPy and by hand, properties."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from losstune.tuning.confirm import bootstrap
from losstune.tuning.confirm.bootstrap import studentise
from losstune.tuning.confirm.statistics import (
    MIN_SEEDS,
    Components,
    detectable,
    difference,
    holm,
    mean_interval,
    relative_gain,
    seeds_needed,
    variance_components,
)

Array = NDArray[np.float64]
Study = Callable[[np.random.Generator, int], tuple[Array, float]]

SEEDS, STUDIES, RESAMPLES = 10, 2000, 499
BATCH = 20
"""Studies that share their resamples, to save time: 100 batches, each with resamples of its own."""


def normal(seeds: float, targets: float, residual: float, n_targets: int = 60) -> Study:
    """Scores with three normal effects of these standard deviations, and mean 0."""

    def study(rng: np.random.Generator, k: int) -> tuple[Array, float]:
        draw = rng.standard_normal
        scores = seeds * draw((k, SEEDS, 1)) + targets * draw((k, 1, n_targets))
        return scores + residual * draw((k, SEEDS, n_targets)), 0.0

    return study


def rank_of(latent: Array) -> Array:
    """One more than the gallery targets that score higher."""
    return 1 + np.floor(np.exp(latent))


def reciprocal(latent: Array) -> Array:
    return np.asarray(1 / rank_of(latent))


def hit_at_5(latent: Array) -> Array:
    return np.asarray((rank_of(latent) <= 5).astype(float))


def expectation(score: Callable[[Array], Array], mean: float, deviation: float) -> float:
    """Mean score of a normal latent, by a fine sum."""
    x = np.linspace(-9, 9, 200_001)
    return float(np.average(score(mean + deviation * x), weights=np.exp(-x * x / 2)))


def skewed(score: Callable[[Array], Array], mean: float, *, seeds: float = 0.3, n_targets: int = 60) -> Study:
    """One arm's scores of a latent with seeds, targets (2) and a residual (1); the truth by quadrature."""
    truth = expectation(score, mean, math.sqrt(seeds**2 + 2**2 + 1))

    def study(rng: np.random.Generator, k: int) -> tuple[Array, float]:
        latent, _ = normal(seeds, 2, 1, n_targets)(rng, k)
        return score(mean + latent), truth

    return study


def skewed_difference(score: Callable[[Array], Array], mean: float, seeds: float) -> Study:
    """Two equal arms: the same targets, but to each arm other seeds, and targets that suit it."""

    def study(rng: np.random.Generator, k: int) -> tuple[Array, float]:
        shared = mean + 2 * rng.standard_normal((k, 1, 60))
        a, b = (score(shared + normal(seeds, 0.5, 1)(rng, k)[0]) for _ in range(2))
        return a - b, 0.0

    return study


@pytest.mark.parametrize(
    "study",
    [
        pytest.param(normal(0.4, 1, 3), id="equal parts"),
        pytest.param(skewed(hit_at_5, 3.5), id="hits, one in five"),
        pytest.param(skewed(reciprocal, 4), id="reciprocal ranks, low"),
        pytest.param(skewed_difference(reciprocal, 1.5, 0.3), id="differences of reciprocal ranks"),
        pytest.param(normal(1, 0.5, 1), id="seeds dominate", marks=pytest.mark.slow),
        pytest.param(normal(0.02, 1, 1), id="targets dominate", marks=pytest.mark.slow),
        pytest.param(normal(0.13, 0, 2), id="residual dominates", marks=pytest.mark.slow),
        pytest.param(normal(0.3, 1, 3, n_targets=100), id="equal parts of 100 targets", marks=pytest.mark.slow),
        pytest.param(skewed(hit_at_5, 1.5, seeds=1), id="hits, seeds", marks=pytest.mark.slow),
        pytest.param(skewed(reciprocal, 1.5), id="reciprocal ranks", marks=pytest.mark.slow),
        pytest.param(skewed_difference(hit_at_5, 2.5, 0.3), id="differences of hits", marks=pytest.mark.slow),
        pytest.param(
            skewed_difference(reciprocal, 3.5, 0.3), id="differences of low reciprocal ranks", marks=pytest.mark.slow
        ),
    ],
)
def test_limits_cover_the_truth_in_93_to_97_percent_of_2000_studies(study: Study) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for batch in range(STUDIES // BATCH):
        scores, truth = study(rng, BATCH)
        result = studentise(scores, batch, RESAMPLES)
        covered += int((np.abs(result.value - truth) <= result.half_widths()).sum())
    assert 0.93 <= covered / STUDIES <= 0.97


@pytest.mark.slow
def test_four_equal_losses_in_two_measures_make_a_claim_in_at_most_6_percent() -> None:
    rng = np.random.default_rng(2)
    draw = rng.standard_normal
    first, second = np.triu_indices(4, 1)
    claims = 0
    for seed in range(STUDIES):
        latent = 1.5 + 0.2 * draw((SEEDS, 1)) + 2 * draw(60)  # splits and targets, the same for all arms
        latent = latent + 0.4 * draw((4, SEEDS, 1)) + 0.5 * draw((4, 1, 60)) + draw((4, SEEDS, 60))
        scores = np.stack([reciprocal(latent), hit_at_5(latent)])  # (2, 4, SEEDS, 60)
        pairs = (scores[:, first] - scores[:, second]).reshape(12, SEEDS, 60)
        claims += min(holm(studentise(pairs, seed, RESAMPLES).p_values().tolist())) < 0.05
    assert claims / STUDIES <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "least", "most"), [(3, 0.92, 0.97), (12, 0.80, 0.91)])
@pytest.mark.parametrize("seeds", [0.3, 1])
def test_limits_of_the_best_in_validation_of_settings_that_are_equally_good(
    seeds: float, settings: int, least: float, most: float
) -> None:
    """Its mean, and its gain over one that is no choice; with a seed a setting is as lucky on test rows as before."""
    rng = np.random.default_rng(6)
    covered = np.zeros(2)
    for seed in range(STUDIES):
        luck = seeds * rng.standard_normal((settings + 1, SEEDS, 1))
        test = luck + 0.5 * rng.standard_normal(60) + rng.standard_normal((settings + 1, SEEDS, 60)) * (1.3 - seeds)
        validation = luck.mean(axis=(1, 2)) + (1.3 - seeds) * rng.standard_normal(settings + 1) / math.sqrt(SEEDS * 60)
        best = test[np.argmax(validation[:-1])]
        result = studentise(np.stack([best, best - test[-1]]), seed, RESAMPLES)
        covered += np.abs(result.value) <= result.half_widths()
    assert (covered / STUDIES >= least).all()
    assert (covered / STUDIES <= most).all()


def test_a_true_difference_of_the_detectable_size_is_shown_as_often_as_the_power_says() -> None:
    truth = Components(seeds=0.09, targets=0.25, residual=1)
    delta = detectable(truth, SEEDS, 60)
    rng = np.random.default_rng(3)
    shown = 0
    for batch in range(STUDIES // BATCH):
        scores, _ = normal(0.3, 0.5, 1)(rng, BATCH)
        shown += int((studentise(scores + delta, batch, RESAMPLES).p_values() < 0.05).sum())
    assert 0.76 <= shown / STUDIES <= 0.84


def test_gains_cover_the_truth() -> None:
    deviation = math.sqrt(0.3**2 + 2**2 + 1)
    truth = expectation(reciprocal, 1.5, deviation) / expectation(reciprocal, 2, deviation) - 1
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(600):
        shared = 2 * rng.standard_normal((1, 60))
        a, b = (reciprocal(mean + shared + normal(0.3, 0, 1)(rng, 1)[0][0]) for mean in (1.5, 2))
        gain = relative_gain(a, b, seed=seed, resamples=RESAMPLES)
        covered += gain.low <= truth <= gain.high
    assert 0.92 <= covered / 600 <= 0.98


def test_with_one_target_limits_are_students_or_somewhat_wider() -> None:
    scores = np.random.default_rng(6).standard_normal((40, 1)) + 1
    found = mean_interval(scores)
    low, high = stats.t.interval(0.95, 39, loc=scores.mean(), scale=stats.sem(scores[:, 0]))
    student = (high - low) / 2
    assert found.value == pytest.approx(scores.mean())
    assert student * (1 - 1e-9) <= (found.high - found.low) / 2 <= 1.1 * student


def test_with_one_seed_limits_are_over_the_targets() -> None:
    scores = np.random.default_rng(7).standard_normal((1, 200))
    found = mean_interval(scores)
    low, high = stats.t.interval(0.95, 199, scores.mean(), stats.sem(scores[0]))
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_p_of_one_target_is_near_the_paired_t_test() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.standard_normal((2, 30, 1))
    a += 0.5
    assert difference(a, b).p == pytest.approx(stats.ttest_rel(a[:, 0], b[:, 0]).pvalue, abs=0.02)


def test_components_by_hand() -> None:
    d = np.array([[1.0, 2.0, 6.0], [3.0, 8.0, 10.0]])
    # Grand mean 5, seed means 3 and 7, target means 2, 5 and 8. Sums of squares: seeds 3·(4+4) = 24, targets
    # 2·(9+0+9) = 36, all (16+9+1+4+9+25) = 64, so residual 4 over 2 degrees. A = 24, B = 18, E = 2.
    found = variance_components(d)
    assert (found.seeds, found.targets, found.residual) == pytest.approx((22 / 3, 8, 2))


def test_components_below_zero_are_zero() -> None:
    found = variance_components(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert (found.seeds, found.targets, found.residual) == pytest.approx((0, 0, 4))


def test_components_are_found_again() -> None:
    scores, _ = normal(2, 3, 1, n_targets=300)(np.random.default_rng(9), 200)
    found = [variance_components(study) for study in scores]
    assert np.mean([c.seeds for c in found]) == pytest.approx(4, rel=0.1)
    assert np.mean([c.targets for c in found]) == pytest.approx(9, rel=0.1)
    assert np.mean([c.residual for c in found]) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4·.005, 3·.01, 2·.03, and 0.04 not below it
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, 0.02, 0.9], [0.06, 0.06, 0.9]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_by_hand(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_its_definition(p_values: list[float]) -> None:
    ranked = sorted(p_values)
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        steps = [(len(ranked) - done) * other for done, other in enumerate(ranked) if other <= p]
        # Of equal p-values the first has the largest factor, so the largest step is the same for all of them.
        assert adjusted == pytest.approx(min(1.0, max(steps)))


def test_superiority_counts_ties_as_half() -> None:
    a = np.array([[1.0, 3.0], [2.0, 2.0], [0.0, 0.0], [5.0, 1.0]])
    b = np.array([[2.0, 2.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    assert difference(a, b).superiority == pytest.approx((0.5 + 1 + 0 + 1) / 4)


def few(low: float, high: float) -> st.SearchStrategy[Array]:
    """Scores of five seeds and eight targets, in steps of 1/8 so that ties and zeros are common."""
    eighths = st.integers(int(low * 8), int(high * 8)).map(lambda count: count / 8)
    return arrays(np.float64, (5, 8), elements=eighths)


@hypothesis_settings(max_examples=60)
@given(few(-2, 2), few(-2, 2))
def test_the_other_order_of_arms_is_the_same_difference_with_the_other_sign(a: Array, b: Array) -> None:
    there, back = difference(a, b, resamples=199), difference(b, a, resamples=199)
    assert (back.value, back.low, back.high) == (-there.value, -there.high, -there.low)
    assert back.p == there.p
    assert back.superiority == pytest.approx(1 - there.superiority)


@hypothesis_settings(max_examples=200)
@given(few(-1, 2), few(-2, 1))
def test_p_is_below_5_percent_if_and_only_if_the_limits_exclude_0(a: Array, b: Array) -> None:
    found = difference(a, b, resamples=99)
    assert found.low <= found.value <= found.high
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    assert 1 / 100 <= found.p <= 1


@hypothesis_settings(max_examples=60)
@given(few(-2, 2), st.sampled_from([-3.0, 0.125, 0.7, 40.0]), st.sampled_from([0.01, 0.3, 2.0, 100.0]))
def test_limits_move_and_stretch_with_the_scores(scores: Array, shift: float, scale: float) -> None:
    before = mean_interval(scores, resamples=199)
    after = mean_interval(shift + scale * scores, resamples=199)
    expected = [shift + scale * limit for limit in (before.value, before.low, before.high)]
    assert [after.value, after.low, after.high] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@hypothesis_settings(max_examples=60)
@given(few(1, 2), few(1, 2), st.sampled_from([0.01, 3.0, -2.0]))
def test_a_gain_has_no_unit(a: Array, b: Array, scale: float) -> None:
    before, after = relative_gain(a, b, resamples=199), relative_gain(scale * a, scale * b, resamples=199)
    assert before.value == pytest.approx(a.mean() / b.mean() - 1)
    assert [after.value, after.low, after.high] == pytest.approx([before.value, before.low, before.high], abs=1e-6)


def test_a_gain_over_a_constant_is_the_difference_over_it() -> None:
    a = np.random.default_rng(10).random((10, 50))
    gain, plain = relative_gain(a, np.full_like(a, 2.0)), mean_interval(a)
    assert [gain.value, gain.low, gain.high] == pytest.approx(
        [plain.value / 2 - 1, plain.low / 2 - 1, plain.high / 2 - 1]
    )


def test_the_same_seed_gives_the_same_limits_and_chunks_only_bound_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(11).random((2, 10, 50)) ** 4
    a[0] += 1  # a seed far from the others, so that the bootstrap's quantile is wider than Student's
    first = difference(a, b, seed=5)
    assert difference(a, b, seed=5) == first
    assert difference(a, b, seed=6) != first
    monkeypatch.setattr(bootstrap, "CELLS", 50 * 7)  # 572 chunks
    in_chunks = difference(a, b, seed=5)
    assert (in_chunks.value, in_chunks.p) == (first.value, first.p)
    assert (in_chunks.low, in_chunks.high) == pytest.approx((first.low, first.high))


def test_many_pairs_at_once_are_each_as_alone() -> None:
    pairs = np.random.default_rng(12).random((3, 10, 40)) - 0.4
    together = studentise(pairs, 0, 999)
    for k in range(3):
        alone = difference(pairs[k], np.zeros((10, 40)), resamples=999)
        assert alone.p == together.p_values()[k]
        assert alone.high - alone.value == pytest.approx(together.half_widths()[k])


def test_equal_arms_differ_by_nothing() -> None:
    a = np.random.default_rng(13).random((10, 30))
    found = difference(a, a.copy())
    assert (found.value, found.low, found.high, found.p, found.superiority) == (0, 0, 0, 1, 0.5)


@pytest.mark.parametrize("shape", [(10, 30), (1, 30), (10, 1)])
def test_a_constant_difference_is_certain(shape: tuple[int, int]) -> None:
    found = difference(np.full(shape, 0.75), np.full(shape, 0.5))
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    assert found.p == pytest.approx(1 / 4001)
    assert found.superiority == 1


def test_one_hit_more_is_no_claim_and_has_finite_limits() -> None:
    a = np.zeros((10, 60))
    a[3, 7] = 1
    found = difference(a, np.zeros((10, 60)))
    assert found.p > 0.3
    assert -0.02 < found.low < 0 < found.high < 0.02


def test_a_shift_against_a_balanced_residual_is_not_certain() -> None:
    board = (-1.0) ** np.add.outer(np.arange(10), np.arange(60))  # the means of all seeds and targets are 0
    assert difference(board + 0.02, np.zeros((10, 60))).p > 0.3


def test_fewer_seeds_or_targets_make_it_harder_to_show_a_difference() -> None:
    parts = Components(seeds=0.01, targets=0.1, residual=0.2)
    assert detectable(parts, 10, 100) > detectable(parts, 20, 100) > detectable(parts, 20, 200) > 0
    assert detectable(parts, 10, 100, power=0.9) > detectable(parts, 10, 100)


@pytest.mark.parametrize("comparisons", [1, 12])
def test_detectable_of_seeds_alone_is_that_of_a_t_test(comparisons: int) -> None:
    # One factor and as good as no other variance: (t_(1 − α/2) + t_0.8) · s/√S with S − 1 degrees of freedom.
    alpha = 0.05 / comparisons
    expected = (stats.t.ppf(1 - alpha / 2, 9) + stats.t.ppf(0.8, 9)) * 0.5 / math.sqrt(10)
    assert detectable(Components(0.25, 0, 0), 10, 100, alpha=alpha) == pytest.approx(expected)
    assert detectable(Components(0, 0, 0), 10, 100, alpha=alpha) == 0


def test_seeds_needed_is_the_fewest() -> None:
    parts = Components(seeds=0.01, targets=0.05, residual=0.2)
    needed = seeds_needed(parts, 400, 0.06)
    assert needed is not None
    assert needed > MIN_SEEDS
    assert detectable(parts, needed, 400) <= 0.06 < detectable(parts, needed - 1, 400)
    assert seeds_needed(parts, 400, 0.06, at_most=needed) == needed
    assert seeds_needed(parts, 400, 0.06, at_most=needed - 1) is None


@pytest.mark.parametrize(
    ("delta", "at_most", "needed"),
    [(1.0, 1000, MIN_SEEDS), (0.01, 1000, None), (0.06, 12, None), (1.0, MIN_SEEDS - 1, None)],
)
def test_seeds_needed_has_bounds(delta: float, at_most: int, needed: int | None) -> None:
    assert seeds_needed(Components(0.01, 0.05, 0.2), 400, delta, at_most=at_most) == needed


def with_nan() -> Array:
    scores = np.ones((10, 5))
    scores[2, 3] = math.nan
    scores[4, 0] = math.inf
    return scores


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval(np.ones(5)), r"scores must be \(seeds, targets\) .*, not \(5,\)"),
        (lambda: mean_interval(np.ones((0, 5))), r"at least one of each, not \(0, 5\)"),
        (lambda: mean_interval(np.ones((1, 1))), "at least 2 seeds or 2 targets"),
        (lambda: mean_interval(with_nan()), r"scores hold NaN or infinity in 2 cells, first at \[2, 3\]"),
        (lambda: mean_interval(np.ones((10, 5)), resamples=19), "19 resamples are too few .* at least 20"),
        (lambda: difference(np.ones((10, 5)), with_nan()), r"b hold NaN or infinity"),
        (lambda: difference(np.ones((10, 5)), np.ones((9, 5))), r"a is \(10, 5\) and b is \(9, 5\)"),
        (lambda: difference(np.ones((10, 1)), np.ones((10, 5))), r"a is \(10, 1\) and b is \(10, 5\)"),
        (lambda: relative_gain(np.ones((10, 5)), np.ones((9, 5))), r"a is \(10, 5\) and b is \(9, 5\)"),
        (lambda: relative_gain(np.ones((10, 5)), np.zeros((10, 5))), "mean score is 0"),
        (lambda: holm([0.1, math.nan]), r"p-value nan at position 1 is not in \[0, 1\]"),
        (lambda: holm([1.5]), r"p-value 1.5 at position 0"),
        (lambda: variance_components(np.ones((1, 5))), "at least 2 seeds and 2 targets, not 1 and 5"),
        (lambda: detectable(Components(1, 1, 1), 1, 5), "at least 2 seeds and 2 targets, not 1 and 5"),
        (lambda: detectable(Components(1, 1, 1), 10, 5, power=1), r"power 1 is not in \(0, 1\)"),
    ],
)
def test_what_is_refused_and_how(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_twenty_resamples_are_enough_for_limits() -> None:
    found = difference(np.full((10, 5), 2.0), np.random.default_rng(14).random((10, 5)), resamples=20)
    assert found.p == pytest.approx(1 / 21)
    assert found.low > 0
