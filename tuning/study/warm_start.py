"""What a study knows from its start: the trials of another study that fit its spaces, copied for good.

They stand in a file beside the spec, which has its checksum. So what a study proposes depends on nothing outside it,
and the other one may go on, or be deleted. They inform proposals, and are nowhere else: Optuna's storage has none.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from losstune.trainer.base.errors import UserError
from losstune.tuning.space.carried_over import MisfitError, carried_over
from losstune.tuning.space.growth import growth
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.space.settings import LEARNING, StudySettings
from losstune.tuning.study.audit import sound_trials
from losstune.tuning.study.spec import Taken, WarmStart
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import Ending, TrialView

EARLIER_FILE = "warm_start.json"


def gathered(
    other: Study, named: str, spaces: Sequence[SearchSpace], settings: StudySettings
) -> tuple[WarmStart, bytes]:
    """The trials of another study that fit these spaces: what the spec says of them, and their file.

    A loss learns from the one of its name there, else from all with its loss function.

    Args:
        named: the other study, as it was asked for.

    Raises:
        UserError: this study's sampler learns nothing, the other one has another objective or is damaged, or none of
            its trials fits.
    """
    wish, theirs = f"--warm-start {named}", other.spec.settings
    if settings.sampler not in LEARNING:
        learning = " or ".join(LEARNING)
        raise UserError(f"{wish}: the sampler {settings.sampler} learns nothing from trials; --sampler {learning} does")
    if theirs.objective != settings.objective:
        raise UserError(
            f"{wish}: its trials are judged by {theirs.objective}, those of this study by {settings.objective}; only "
            "values of one objective say which setting is better"
        )
    trials, known = sound_trials(other), other.spec.search_spaces()
    taken, kept, misfits = {}, {}, []
    for space in spaces:
        losses = _losses(space, known)
        ended = [trial for loss in losses for trial in trials[loss] if _tells(trial)]
        fitting = []
        for trial in ended:
            try:
                point = carried_over(known[trial.loss].train_config(trial.point).flat(), space)
            except (MisfitError, UserError) as error:
                misfits.append(f"{trial.name}: {error}")
            else:
                fitting.append(_kept(trial, point, theirs.max_epochs, settings.max_epochs))
        kept[space.name] = fitting
        taken[space.name] = Taken(losses=losses, trials=len(fitting), of=len(ended))
    spec = WarmStart(study=named, study_id=other.spec.id, sha256="", losses=taken)
    if not any(kept.values()):
        why = f"; {misfits[0]}" if misfits else ""
        raise UserError(f"{wish}: no trial of it is of use here ({spec.text}){why}")
    content = json.dumps(kept).encode()
    return spec.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()}), content


def earlier_trials(study: Study) -> dict[str, list[TrialView]]:
    """The other study's trials by this study's losses, at its points and epochs; empty without a warm start.

    Raises:
        UserError: their file is damaged or gone.
    """
    if study.spec.warm_start is None:
        return {}
    path = study.folder / EARLIER_FILE
    study.files.keep(path)
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != study.spec.warm_start.sha256:
        found = "damaged" if content else "gone"
        raise UserError(f"{study.files.where(path)}: {found}; restore it from a backup, or start another study")
    kept, spaces = json.loads(content), study.spec.search_spaces()
    for loss in study.spec.grown:
        since = growth(study.spec.earlier_spaces(loss)[0], spaces[loss])
        kept[loss] = [trial | {"point": since.point(trial["point"])} for trial in kept[loss]]
    return {loss: [_view(loss, number, trial) for number, trial in enumerate(own)] for loss, own in kept.items()}


def _losses(space: SearchSpace, known: Mapping[str, SearchSpace]) -> list[str]:
    """The other study's losses that tell of this one."""
    if space.name in known:
        return [space.name]
    return [loss for loss, other in known.items() if other.reference == space.reference]


def _tells(trial: TrialView) -> bool:
    ending = trial.ending
    return ending is not None and ending.state != "failed" and (ending.diverged or ending.best is not None)


def _kept(trial: TrialView, point: Point, their_epochs: int, our_epochs: int) -> dict[str, Any]:
    """A trial as the file has it, its epochs as shares, in orders of magnitude, of what a trial is given."""

    def epoch(theirs: int) -> int:
        if their_epochs == our_epochs or theirs < 1:
            return theirs
        share = math.log(theirs) / math.log(their_epochs) if theirs < their_epochs else 1.0
        return max(1, round(math.exp(share * math.log(our_epochs))))

    ending = trial.ending
    assert ending is not None
    return {
        "trial": trial.name,
        "point": point,
        "values": [[epoch(at), value] for at, value in trial.rungs.items() if math.isfinite(value)],
        "end": [ending.state, ending.reason, epoch(ending.epochs), ending.best, epoch(ending.best_epoch)],
    }


def _view(loss: str, number: int, kept: Mapping[str, Any]) -> TrialView:
    ending = Ending(*kept["end"])
    return TrialView(
        loss=loss,
        number=number,
        point=kept["point"],
        state=ending.state,
        rungs=dict(kept["values"]),
        ending=ending,
        started=0.0,
        finished=None,
        value=ending.best,
    )
