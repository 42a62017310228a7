"""A study as another launch continues it: what may have changed, and what is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import describe
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import BUDGET_FIELDS, StudySettings
from losstune.tuning.study.spec import StudySpec, utc_now
from losstune.tuning.study.study import Study
from losstune.tuning.study.versions import check_versions, versions_now


def continued(
    study: Study,
    spaces: list[SearchSpace],
    options: Mapping[str, Any],
    data_digest: str,
    *,
    warm_start: str | None = None,
    accept_change: bool = False,
) -> Study:
    """The study as another launch continues it: the same but for a new budget.

    Args:
        spaces: as given again; empty takes the frozen ones.
        options: settings that stand on the command line.
        warm_start: the other study that it began with, where that is said again.
        accept_change: go on with other versions of the libraries, on record.

    Raises:
        UserError: data, spaces, settings or, if not accepted, versions differ; lists the differences.
    """
    spec = study.spec
    differences = []
    if data_digest != spec.data_digest:
        differences.append(f"data: SHA-256 {spec.data_digest[:12]} in the study, {data_digest[:12]} now")
    if spaces:
        now = {space.name: dict(space.source) for space in spaces}
        differences += list(_differences("spaces", _without_budgets(spec.spaces), _without_budgets(now)))
    frozen = spec.settings.model_dump()
    differences += [
        f"{name}: {frozen[name]} in the study, {value} now"
        for name, value in options.items()
        if name not in BUDGET_FIELDS and frozen[name] != value
    ]
    began_with = spec.warm_start.study if spec.warm_start else None
    if warm_start not in (None, began_with):
        differences.append(f"warm_start: {began_with or 'none'} in the study, {warm_start} now")
    if differences:
        raise UserError(
            f"study {spec.name!r} exists with other content; use another --study name, or undo the change:\n"
            + "\n".join(differences)
        )
    change = check_versions(f"study {spec.name!r}", spec.versions, accepted=accept_change)
    if change:
        changes = [*spec.changes, {"at": utc_now(), **change}]
        spec = spec.model_copy(update={"versions": versions_now(), "changes": changes})
    budget = _new_budget(spec, spaces, options)
    try:
        settings = StudySettings.model_validate(frozen | budget)
    except ValidationError as error:
        raise UserError(f"study: {describe(error)}") from None
    sources = {space.name: dict(space.source) for space in spaces} or spec.spaces
    return Study(study.home, spec.model_copy(update={"settings": settings, "spaces": sources}))


def _new_budget(spec: StudySpec, spaces: list[SearchSpace], options: Mapping[str, Any]) -> dict[str, Any]:
    """The budget on the command line, else one that changed in a file, else the study's own."""
    given = {name: options[name] for name in BUDGET_FIELDS if name in options}
    for space in spaces:
        before = spec.spaces[space.name].get("study") or {}
        changed = {n: space.study[n] for n in BUDGET_FIELDS if n in space.study and space.study[n] != before.get(n)}
        if changed and given and changed != given and not set(given) & set(options):
            raise UserError(f"study: {space.file} says {changed}, another space {given}; give the budget as an option")
        given = given or changed
    return dict.fromkeys(BUDGET_FIELDS) | given if given else {}


def _without_budgets(spaces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for loss, source in spaces.items():
        study = {k: v for k, v in (source.get("study") or {}).items() if k not in BUDGET_FIELDS}
        result[loss] = {**source, "study": study}
    return result


def _differences(path: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            if key not in now:
                yield f"{path}.{key}: in the study, absent now"
            elif key not in before:
                yield f"{path}.{key}: absent in the study, present now"
            else:
                yield from _differences(f"{path}.{key}", before[key], now[key])
    elif before != now:
        yield f"{path}: {before} in the study, {now} now"
