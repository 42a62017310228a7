"""A search space in Optuna's terms."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from losstune.tuning.space.search_space import Choices, Range, SearchSpace


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each parameter of a space."""
    result: dict[str, BaseDistribution] = {}
    for parameter in space.parameters:
        match parameter.domain:
            case Choices(values):
                result[parameter.name] = CategoricalDistribution(values)
            case Range(integer=True) as domain:
                low, step = int(domain.low), int(domain.step or 1)
                result[parameter.name] = IntDistribution(low, int(_last(domain)), log=domain.log, step=step)
            case Range() as domain:
                result[parameter.name] = FloatDistribution(domain.low, _last(domain), log=domain.log, step=domain.step)
    return result


def _last(domain: Range) -> float:
    """The highest value, which may lie below high where there are steps."""
    return domain.high if domain.step is None or domain.values is None else domain.values[-1]
