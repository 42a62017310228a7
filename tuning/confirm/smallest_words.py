"""What is said of the smallest setting that may be as good as the choice."""

from losstune.tuning.confirm.findings import LABELS, Comparison, Smallest
from losstune.tuning.confirm.margin import smallest_options


def smallest_sentence(comparison: Comparison) -> list[str]:
    """One sentence, with its test; none where the costs are not known."""
    choice, small = comparison.pick(comparison.winner), comparison.smallest
    if choice.cost is None:
        return []
    if small is None:
        found = (
            f"Nothing confirmed that is smaller than the choice's {choice.cost.parameters:,} parameters and "
            f"{choice.cost.dims} dimensions came within {comparison.margin:g} of it in validation"
        )
        options = f"{comparison.again} {smallest_options(comparison.margin)}"
        command = f"losstune confirm {comparison.study}{comparison.at} {options}"
        more = f"; to try the cheapest of the search: {command}"
        return [f"{found}{'' if comparison.smallest_sought else more}."]
    model = model_name(small)
    if small.share < 1:
        model += f", with {share_text(small.share)} of the parameters ({small.cost.parameters:,})"
    gap = f"{_gap(small)} in {LABELS[small.measure]}"
    test = f"within ±{small.margin:g} (p {_p(small.p)}, two one-sided tests)"
    match small.verdict:
        case "as good":
            told = f"{_as_good(small, choice.name)}: {gap}, {test}"
        case "not shown":
            told = (
                f"came within {small.margin:g} of {choice.name} in validation, and is not shown to be as good on the "
                f"test split: {gap}, not {test}"
            )
        case "too few seeds":
            told = f"came within {small.margin:g} of {choice.name} in validation: {gap}, too few seeds for a claim"
    return [f"{model}{', ' if small.share < 1 else ' '}{told}."]


def short_smallest(comparison: Comparison) -> list[str]:
    """What of it belongs into the short answer: that there is a smaller model that is as good."""
    small = comparison.smallest
    if small is None or small.verdict != "as good":
        return []
    parameters = f" with {share_text(small.share)} of the parameters" if small.share < 1 else ""
    return [f"{model_name(small)} is as good{parameters}: {_gap(small)}, within ±{small.margin:g}."]


def model_name(small: Smallest) -> str:
    """``infonce-0003``, and of a prefix ``infonce-0003 cut to 8 of 32 dimensions``."""
    return f"{small.name} cut to {small.cost.dims} of {small.whole_dims} dimensions" if small.is_cut else small.name


def share_text(share: float) -> str:
    """``24 %``, and of less than ten with one more digit, as ``2.4 %``."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _as_good(small: Smallest, choice: str) -> str:
    """A difference may be known and yet be within the margin."""
    gap = small.difference
    if gap.low <= 0 <= gap.high:
        return f"can not be told apart from {choice}"
    return f"is as good as {choice}"


def _gap(small: Smallest) -> str:
    gap = small.difference
    return f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
