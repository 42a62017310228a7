"""What MLflow says of a study above its runs: the question, how to go on, and once it is known the answer."""

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from losstune.tuning.confirm.confirm_runs import ConfirmRun, ended_values, looked
from losstune.tuning.confirm.plan import Plan, latest_finished
from losstune.tuning.confirm.results import Results, load_results
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView

if TYPE_CHECKING:  # a launch imports this before MLflow, which takes seconds to load
    from mlflow.tracking import MlflowClient

NOTE_TAG = "mlflow.note.content"
OWN_NOTE_TAG = "losstune.note"
"""Digest of the description that stands there from us: another one is its user's, and stays."""


def study_note(study: Study) -> str:
    """Of the experiment, in Markdown as all of these. MLflow shows its first paragraph alone until it is opened."""
    spec = study.spec
    losses = ", ".join(f"`{spec.title(loss)}`" for loss in spec.spaces)
    found = _found(study)
    model = f"**{found.winner}**, [its model](#/models/{spec.name}). " if found else ""
    question = "Which settings" if len(spec.spaces) == 1 else "Which loss, with which settings"
    return "\n\n".join(
        [
            f"**{question}, on `{spec.data_source}`, by `{spec.settings.objective}`?** {model}Of {losses}; "
            f"each has {spec.settings.budget}.",
            _answer(study) or f"Not confirmed yet: {_command(study, 'confirm')}",
            f"Continue: {_command(study, 'launch --study')}",
        ]
    )


def loss_note(study: Study, loss: str, trials: list[TrialView], best: TrialView | None) -> str:
    """Of the run above the trials of a loss."""
    spec, settings = study.spec, study.spec.settings
    count = f"{len(trials)} trial{'s' * (len(trials) > 1)}"
    so_far = f"`{best.name}`, {settings.objective} {best.rank_value:.4f}" if best else "none has a value"
    return "\n\n".join(
        [
            f"**Which settings of `{spec.title(loss)}`, on `{spec.data_source}`, by `{settings.objective}`?**",
            f"Best of {count}: {so_far}.",
            f"Continue: {_command(study, 'launch --study')}",
        ]
    )


def confirm_note(study: Study, newest: Plan, *, done: bool) -> str:
    """Of the run above those of all confirmations.

    Args:
        done: whether the newest one has its results.
    """
    again = f"Of each loss the best {newest.top} and its untuned start, again with {newest.seeds} fresh seeds."
    stops = looked(newest, ended_values(study, newest)).stops.values()
    command = f"confirm {study.spec.name} {' '.join(newest.options)}{study.home.options()}"
    return "\n\n".join(
        [
            f"**Does the search's answer hold?** {again}",
            *("\n".join(f"- {stop}" for stop in stops),) * bool(stops),
            *([answer] if (answer := _answer(study)) else []),
            *([] if done else [f"Continue: `losstune {command}`"]),
        ]
    )


def champion_note(champion: ConfirmRun) -> str:
    """Of the registered version that a confirmed run has become."""
    spec, result = champion.study.spec, champion.result()
    value = champion.value(result) if result is not None else None
    told = f"fresh seed {champion.seed}" + ("" if value is None else f", {spec.settings.objective} {value:.4f}")
    return "\n\n".join(
        [
            f"**{spec.title(champion.arm.loss)}**, with the settings of `{champion.arm.name}`, {told}.",
            f"Data: `{spec.data_source}`, SHA-256 {spec.data_digest}",
            _answer(champion.study),
        ]
    )


def describe_experiment(client: "MlflowClient", experiment_id: str, text: str) -> None:
    """Make it the experiment's description, unless its user has written another."""
    tags = client.get_experiment(experiment_id).tags
    _describe(tags, lambda name, value: client.set_experiment_tag(experiment_id, name, value), text)


def describe_run(client: "MlflowClient", run_id: str, text: str) -> None:
    """Make it the run's description, unless its user has written another."""
    tags = client.get_run(run_id).data.tags
    _describe(tags, lambda name, value: client.set_tag(run_id, name, value), text)


def _describe(tags: Mapping[str, str], set_tag: Callable[[str, str], object], text: str) -> None:
    there = tags.get(NOTE_TAG, "")
    if there != text and (not there or _digest(there) == tags.get(OWN_NOTE_TAG)):
        set_tag(OWN_NOTE_TAG, _digest(text))
        set_tag(NOTE_TAG, text)


def _found(study: Study) -> Results | None:
    """What the newest confirmation with results found."""
    plan = latest_finished(study)
    return load_results(study, plan)[0] if plan is not None else None


def _answer(study: Study) -> str:
    results = _found(study)
    if results is None:
        return ""
    arm = results.arm(results.picks[results.winner])
    return (
        f"Confirmed: **{results.winner}**, with the settings of `{arm.name}`: mean {study.spec.settings.objective} "
        f"{arm.validation_mean:.3f} over {len(arm.validation)} fresh seeds. How sure that is, on the test split: "
        f"{_command(study, 'compare')}"
    )


def _command(study: Study, words: str) -> str:
    return f"`losstune {words} {study.spec.name}{study.home.options()}`"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
