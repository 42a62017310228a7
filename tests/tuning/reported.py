"""A study with its search and its confirmation on disk, made by formulas instead of training, without Ray."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from losstune.trainer.base.files import sealed
from losstune.trainer.config.config_file import config_yaml
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.history import history_line
from losstune.trainer.run.layout import CONFIG_FILE, HISTORY_FILE
from losstune.tuning.confirm.confirm_runs import RunResult, ended_values, looked, runs_of
from losstune.tuning.confirm.looks import Stop
from losstune.tuning.confirm.plan import Plan, make_plan, save_plan
from losstune.tuning.confirm.results import ArmResult, Results, Scores, save_results
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, create_study
from losstune.tuning.study.trial import DIVERGED, Ending
from tests.tuning.samples import settings_of, space_of

SPACES = {
    "infonce": """
        loss_fn: infonce
        space:
          temperature: {low: 0.01, high: 1.0, log: true}
          schedule: {choices: [constant, cosine]}
          warmup_epochs: {low: 1, high: 5, int: true, when: {schedule: cosine}}
    """,
    "cosine": """
        loss_fn: cosine
        space:
          lr: {low: 1.0e-4, high: 1.0e-1, log: true}
          model.dropout: {low: 0.0, high: 0.9}
    """,
}
VARIANTS = {"infonce": SPACES["infonce"], "sharp": f"{SPACES['infonce']}    name: sharp"}
"""Two spaces of one loss."""
RUNGS, LAST = (1, 3), 9
LEVEL = {"infonce": 0.4, "cosine": 0.3, "sharp": 0.5}
BASELINES = {"chance": 0.02, "mean_target": 0.02, "ridge": 0.15, "ridge_centered": 0.17, "untrained": 0.02}
METRICS = ("cosine_sim", "mse", "mrr", "recall_at_1", "recall_at_5", "recall_at_10", "mrr_at_10", "ndcg_at_10")
SIGNS = {"effective_rank": 5.0, "hubness": 0.5, "alignment": 0.2, "uniformity": -1.0}


def searched(root: Path, trials: tuple[int, int], data: str = "digits", spaces: Mapping[str, str] = SPACES) -> Study:
    """A study whose search has ended, with this many trials of infonce and cosine; one each diverged and failed."""
    settings = settings_of(max_epochs=LAST, grace_epochs=1, reduction_factor=3, trials=max(*trials, 1))
    study = create_study(Home(root), "study", [space_of(text) for text in spaces.values()], settings, data, "0" * 64)
    for (loss, space), count in zip(study.spec.search_spaces().items(), trials, strict=True):
        own = LossTrials(study.storage(), loss, space)
        generator = np.random.default_rng(len(loss))
        for number in range(count):
            place = float(generator.uniform(0, 1))
            own.add(point_of(loss, place, number), seed=number)
            end(study, own, number, LEVEL[loss] - 0.3 * abs(place - 0.5))
    return study


def point_of(loss: str, place: float, number: int) -> dict[str, Any]:
    """The first parameter decides: the middle of its range is best. The others go round."""
    if loss == "cosine":
        return {"lr": 10 ** (3 * place - 4), "model.dropout": (number * 7 % 10) / 10 * 0.9}
    point: dict[str, Any] = {"temperature": 10 ** (2 * place - 2), "schedule": ("constant", "cosine")[number % 2]}
    return point | ({"warmup_epochs": number % 5 + 1} if number % 2 else {})


def end(study: Study, own: LossTrials, number: int, value: float) -> None:
    """Write a trial's files and its end: 1 diverged, 2 failed, every third used its epochs, the others were cut."""
    epochs = LAST if number % 3 == 0 else RUNGS[number % 2]
    name = own[number].name
    write_run(study.trials_folder / name, own.space.settings(own[number].point), curve(value, epochs))
    for rung in RUNGS:
        if rung <= epochs:
            own.report(number, rung, curve(value, rung)[-1])
    match number:
        case 1:
            ending = Ending("pruned", DIVERGED, epochs, None, 0)
        case 2:
            ending = Ending("failed", "ValueError: <script>window.hacked = 1</script>", epochs, None, 0)
        case _ if epochs == LAST:
            ending = Ending("complete", "used its epochs", LAST, curve(value, LAST)[-1], LAST)
        case _:
            ending = Ending("pruned", f"cut at rung {epochs}", epochs, curve(value, epochs)[-1], epochs)
    own.end(number, ending)


def curve(value: float, epochs: int) -> list[float]:
    """Values of epochs 1 to ``epochs``, rising towards one."""
    return [value * (1 - 0.5 / epoch) for epoch in range(1, epochs + 1)]


def write_run(folder: Path, settings: dict[str, Any], values: list[float]) -> None:
    """The config and the history of a run."""
    folder.mkdir(parents=True)
    config = TrainConfig.from_flat({**settings, "num_epochs": LAST, "objective": "val/mrr", "threads": 1})
    (folder / CONFIG_FILE).write_text(sealed(config_yaml(config)))
    records = (
        {"epoch": e, "time": float(e), "seconds": 0.1, "val/mrr": value} for e, value in enumerate(values, start=1)
    )
    (folder / HISTORY_FILE).write_text("".join(map(history_line, records)))


def confirmed(study: Study, top: int = 2, seeds: int = 10, *, early: bool = False) -> Study:
    """Confirm a study by formulas: infonce wins the objective by 0.1, and loses cosine similarity by 0.1."""
    plan = make_plan(study, 1, top, seeds, 1, split_given=False).model_copy(update={"early": early})
    save_plan(study, plan)
    for run in (run for seed in range(seeds) for run in runs_of(study, plan) if run.seed == seed):
        value = arm_level(plan, run.arm.name) + 0.003 * (run.seed - seeds / 2)
        write_run(run.folder, run.settings, curve(value, LAST))
        best = curve(value, LAST)[-1]
        run.finish(
            RunResult(
                end="epochs",
                reason="",
                epochs=LAST,
                best=best,
                best_epoch=LAST,
                seconds=1.0,
                started=0.0,
                finished=1.0,
            )
        )
    results, scores = found(plan, looked(plan, ended_values(study, plan)).stops)
    save_results(study, plan, results, scores)
    return study


def arm_level(plan: Plan, name: str) -> float:
    """Candidates in the order of the search, starts a little below."""
    arm = next(arm for arm in plan.arms if arm.name == name)
    candidates = [candidate.name for candidate in plan.candidates(arm.loss)]
    return LEVEL[arm.loss] - 0.01 * (candidates.index(name) if name in candidates else len(candidates))


def found(plan: Plan, stops: Mapping[str, Stop]) -> tuple[Results, dict[str, Scores]]:
    """Results and test scores of a plan's arms and of the baselines."""
    arms, scores = [], {}
    for index, arm in enumerate(plan.arms):
        stop = stops.get(arm.name)
        seeds = stop.seeds if stop else plan.seeds
        values: list[float | None] = [arm_level(plan, arm.name)] * seeds
        arms.append(
            ArmResult(
                name=arm.name,
                loss=arm.loss,
                loss_fn=arm.loss_fn,
                role=arm.role,
                search_value=arm.search_value,
                validation=values,
                ends=["epochs"] * seeds,
                epochs=LAST * seeds,
                seconds=3.0,
                geometry={sign: [value] * seeds for sign, value in SIGNS.items()},
                output_dim=8,
                lost_to=stop.better if stop else None,
            )
        )
        scores[arm.name] = _scores(arm_level(plan, arm.name), arm.loss, seeds, index)
    for index, (name, level) in enumerate(BASELINES.items()):
        arms.append(ArmResult(name=name, loss_fn=None, role="baseline", validation=[level] * plan.seeds))
        scores[name] = _scores(level, None, plan.seeds, 100 + index)
    picks = {loss: plan.candidates(loss)[0].name for loss in plan.losses}
    return Results(picks=picks, arms=arms, targets=25, test_uses_before=0), scores


def _scores(level: float, loss_fn: str | None, seeds: int, index: int) -> Scores:
    generator = np.random.default_rng(index)
    on_cosine = level + (0.2 if loss_fn == "cosine" else 0.0)
    return {
        metric: (on_cosine if metric == "cosine_sim" else level) + generator.normal(0, 0.02, size=(seeds, 25))
        for metric in METRICS
    }
