"""A study as another launch continues it: what may have changed, and what is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.setting_errors import describe
from losstune.tuning.space.growth import Change, Growth, growth
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import BUDGET_FIELDS, StudySettings
from losstune.tuning.study.spec import StudySpec, utc_now
from losstune.tuning.study.study import Study
from losstune.tuning.study.versions import check_versions, versions_now

_POINTS = ("start", "space", "fixed")


def continued(
    study: Study,
    spaces: list[SearchSpace],
    options: Mapping[str, Any],
    data_digest: str,
    *,
    warm_start: str | None = None,
    accept_change: bool = False,
) -> Study:
    """The study as another launch continues it: the same but for a new budget, and for spaces that grew.

    A loss whose space grew is of another generation then: its trials are to be copied before the spec is saved.

    Args:
        spaces: as given again; empty takes the frozen ones.
        options: settings that stand on the command line.
        warm_start: the other study that it began with, where that is said again.
        accept_change: go on with other versions of the libraries, and in spaces that grew, on record.

    Raises:
        UserError: data, spaces, settings or, if not accepted, versions differ; lists the differences.
    """
    spec = study.spec
    grown, refused = _compared(spec, spaces) if spaces else ({}, [])
    differences = [*_data_differences(spec, data_digest), *refused, *_setting_differences(spec, options)]
    began_with = spec.warm_start.study if spec.warm_start else None
    if warm_start not in (None, began_with):
        differences.append(f"warm_start: {began_with or 'none'} in the study, {warm_start} now")
    if differences:
        differences += [] if accept_change else [f"{line}; --accept-change goes on with it" for line in _listed(grown)]
        informed = f", with --warm-start {spec.name} to begin with what is known" if refused else ""
        raise UserError(
            f"study {spec.name!r} exists with other content; use another --study name{informed}, or undo the change:\n"
            + "\n".join(differences)
        )
    spec = _changed(spec, grown, accepted=accept_change)
    budget = _new_budget(spec, spaces, options)
    try:
        settings = StudySettings.model_validate(spec.settings.model_dump() | budget)
    except ValidationError as error:
        raise UserError(f"study: {describe(error)}") from None
    update = {"settings": settings, "spaces": _sources(spec, spaces, grown)}
    return Study(study.home, spec.model_copy(update=update))


def _sources(spec: StudySpec, spaces: list[SearchSpace], grown: Mapping[str, Growth]) -> dict[str, dict[str, Any]]:
    """The spaces that are written down, in the study's order: as they were, with the budget that a file has now.

    Other words for the same space, as another order of parameters or 0.0 for 0, would change what samplers draw.
    """
    given = {space.name: dict(space.source) for space in spaces}
    sources = {}
    for loss, own in spec.spaces.items():
        now = given.get(loss, own)
        same_study = now.get("study") == own.get("study")
        sources[loss] = now if loss in grown else own if same_study else {**own, "study": now.get("study") or {}}
    return sources


def _changed(spec: StudySpec, grown: Mapping[str, Growth], *, accepted: bool) -> StudySpec:
    """The spec with other versions and spaces that grew on record, its spaces not replaced yet.

    Raises:
        UserError: there is such a change, and it was not accepted.
    """
    versions = check_versions(f"study {spec.name!r}", spec.versions, accepted=accepted or bool(grown))
    if grown and not accepted:
        listed = [*_listed(grown), *(f"{package}: {change}" for package, change in (versions or {}).items())]
        raise UserError(
            f"study {spec.name!r}: what is searched grew; go on in it with --accept-change, which keeps all trials and "
            "puts the change on record, or undo the change:\n" + "\n".join(listed)
        )
    # In other words than a version's change, which MLflow's tags of former runs are read from.
    told = {
        f"{loss}.{name}": f"{change.before} before, {change.now} from then on"
        for loss, own in grown.items()
        for name, change in own.changes.items()
    }
    changes = [{"at": utc_now(), **change} for change in (versions, told) if change]
    former = {loss: [*spec.grown.get(loss, []), spec.spaces[loss]] for loss in grown}
    update = {"changes": [*spec.changes, *changes], "grown": spec.grown | former}
    return spec.model_copy(update=update | ({"versions": versions_now()} if versions else {}))


def _data_differences(spec: StudySpec, data_digest: str) -> Iterator[str]:
    if data_digest != spec.data_digest:
        yield f"data: SHA-256 {spec.data_digest[:12]} in the study, {data_digest[:12]} now"


def _setting_differences(spec: StudySpec, options: Mapping[str, Any]) -> Iterator[str]:
    frozen = spec.settings.model_dump()
    for name, value in options.items():
        if name not in BUDGET_FIELDS and frozen[name] != value:
            yield f"{name}: {frozen[name]} in the study, {value} now"


def _compared(spec: StudySpec, spaces: list[SearchSpace]) -> tuple[dict[str, Growth], list[str]]:
    """How the space of each loss grew, where it did, and what else is another."""
    before = _without_budgets(spec.spaces)
    now = _without_budgets({space.name: dict(space.source) for space in spaces})
    grown, refused = {}, list(_differences("spaces", _without_points(before), _without_points(now)))
    frozen = spec.search_spaces()
    for space in spaces:
        loss = space.name
        if loss in frozen and before[loss] != now[loss]:
            own = growth(frozen[loss], space)
            fixed = {name: value for name, value in frozen[loss].fixed.items() if name not in own.changes}
            refused += [f"{_line(loss, *each)}; {each[1].rule}" for each in own.changes.items() if each[1].rule]
            refused += _differences(f"spaces.{loss}.fixed", fixed, space.fixed)
            if [own.point(point) for point in frozen[loss].start] != list(space.start):
                refused += _differences(
                    f"spaces.{loss}", *({"start": each[loss].get("start")} for each in (before, now))
                )
            if own.changes:
                grown[loss] = own
    return grown, refused


def _listed(grown: Mapping[str, Growth]) -> list[str]:
    """What only grew, a line each."""
    changes = [(loss, *each) for loss, own in grown.items() for each in own.changes.items()]
    return [_line(*each) for each in changes if not each[-1].rule]


def _line(loss: str, name: str, change: Change) -> str:
    return f"spaces.{loss}.space.{name}: {change.before} in the study, {change.now} now"


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


def _without_points(spaces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Without what is searched, what is fixed and where it starts, which are compared by what they mean."""
    return {loss: {k: v for k, v in source.items() if k not in _POINTS} for loss, source in spaces.items()}


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
