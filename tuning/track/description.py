"""What MLflow says of a study above its runs: the question, how to go on, and once it is known the answer."""

import hashlib

from mlflow.tracking import MlflowClient

from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.confirm.results import load_results
from losstune.tuning.study.study import Study

NOTE_TAG = "mlflow.note.content"
OWN_NOTE_TAG = "losstune.note"
"""Digest of the description that stands there from us: another one is its user's, and stays."""


def description(study: Study) -> str:
    """In Markdown."""
    spec, at = study.spec, study.home.options()
    losses = ", ".join(f"`{loss}`" for loss in spec.spaces)
    question = "Which settings" if len(spec.spaces) == 1 else "Which loss, with which settings"
    return "\n\n".join(
        [
            f"**{question}, on `{spec.data_source}`, by `{spec.settings.objective}`?** Of {losses}; each has "
            f"{spec.settings.budget}.",
            _answer(study) or f"Not confirmed yet: `losstune confirm {spec.name}{at}`",
            f"Continue: `losstune launch --study {spec.name}{at}`",
        ]
    )


def describe(client: MlflowClient, experiment_id: str, text: str) -> None:
    """Make it the experiment's description, unless its user has written another."""
    tags = client.get_experiment(experiment_id).tags
    there = tags.get(NOTE_TAG, "")
    if there != text and (not there or _digest(there) == tags.get(OWN_NOTE_TAG)):
        client.set_experiment_tag(experiment_id, OWN_NOTE_TAG, _digest(text))
        client.set_experiment_tag(experiment_id, NOTE_TAG, text)


def _answer(study: Study) -> str:
    plan = latest_finished(study)
    if plan is None:
        return ""
    results, _ = load_results(study, plan)
    arm = results.arm(results.picks[results.winner])
    at = study.home.options()
    return (
        f"Confirmed: **{results.winner}**, with the settings of `{arm.name}`: mean {study.spec.settings.objective} "
        f"{arm.validation_mean:.3f} over {plan.seeds} fresh seeds. How sure that is, on the test split: "
        f"`losstune compare {study.spec.name}{at}`"
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
