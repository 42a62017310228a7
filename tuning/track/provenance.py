"""Where a run comes from, as MLflow shows it: who, by which command, on which code, libraries and data."""

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag

from losstune.tuning.storage.study_files import SPEC_FILE
from losstune.tuning.study.spec import StudySpec
from losstune.tuning.study.study import Study

USER_TAG = "mlflow.user"
VERSION_TAG = "losstune.version."
"""Begins the tags with the versions of libraries."""
DIGEST_LENGTH = 32
"""Of the data's hash: MLflow takes 36 characters, of SHA-256's 64 hex digits."""
_CHANGED = " in the study, "


def source_tags(study: Study, started: float) -> dict[str, str]:
    """Who made a run, with what: in the tags that MLflow's own columns read, and the libraries' versions.

    Args:
        started: when the run began, in Unix seconds: a study may have gone on with other versions since.
    """
    spec = study.spec
    tags = {"mlflow.source.name": f"losstune: study {spec.name}", "mlflow.source.type": "LOCAL"}
    if spec.git_commit:
        tags["mlflow.source.git.commit"] = spec.git_commit
    with suppress(KeyError, OSError):  # a user without a name here, or a file that is in a bucket alone
        tags[USER_TAG] = (study.folder / SPEC_FILE).owner()
    versions = versions_at(spec, started)
    return tags | {f"{VERSION_TAG}{package}": number for package, number in versions.items()}


def versions_at(spec: StudySpec, time: float) -> dict[str, str]:
    """The versions that a study ran on at a time, in Unix seconds: those of now, less the changes that came later."""
    versions = dict(spec.versions)
    for change in reversed(spec.changes):
        if datetime.fromisoformat(change["at"]).timestamp() <= time:
            break
        versions |= {name: text.partition(_CHANGED)[0] for name, text in change.items() if _CHANGED in text}
    return {name: number for name, number in versions.items() if number != "none"}


def dataset_inputs(study: Study) -> list[DatasetInput]:
    """The study's data as MLflow's inputs of a run: what is trained on, and what it is judged by."""
    source = json.dumps({"uri": study.spec.data_source})
    name, digest = Path(study.spec.data_source).name, study.spec.data_digest[:DIGEST_LENGTH]
    # One name with one digest is one input to MLflow, whatever its context: so the part is in the name.
    return [
        DatasetInput(Dataset(f"{name} ({part})", digest, "local", source), [InputTag("mlflow.data.context", context)])
        for part, context in (("train", "training"), ("val", "validation"))
    ]
