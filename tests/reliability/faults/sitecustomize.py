"""Python imports this at its start where this folder is in PYTHONPATH: it puts faults into chosen trials.

``LOSSTUNE_FAULTS`` is a JSON file, from the seed of a trial to its fault: ``{"epoch": 2, "metrics": {"mrr": "nan"}}``
replaces metrics of an evaluation, with null it leaves them out; ``{"epoch": 2, "error": "text"}`` the loss raises.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

TARGET = "losstune.trainer.run.loop"


def inject(trainer: Any, fault: dict[str, Any]) -> None:
    evaluate, loss = trainer.evaluate, trainer.loss.forward

    def bad_evaluate(split: Any) -> dict[str, float]:
        metrics = dict(evaluate(split))
        if trainer.epoch == fault["epoch"]:
            for name, value in fault.get("metrics", {}).items():
                if value is None:
                    del metrics[name]
                else:
                    metrics[name] = float(value)
        return metrics

    def bad_loss(*arguments: Any) -> Any:
        if trainer.epoch == fault["epoch"] and "error" in fault:
            raise RuntimeError(fault["error"])
        return loss(*arguments)

    trainer.evaluate, trainer.loss.forward = bad_evaluate, bad_loss


def patch(module: ModuleType) -> None:
    faults = json.loads(Path(os.environ["LOSSTUNE_FAULTS"]).read_text())
    original = module.Trainer.__init__

    def init(self: Any, config: Any, data: Any, **options: Any) -> None:
        original(self, config, data, **options)
        if (fault := faults.get(str(config.seed))) is not None:
            inject(self, fault)

    module.Trainer.__init__ = init  # type: ignore[method-assign]


class Finder(importlib.abc.MetaPathFinder):
    """Finds the target as it would be found without, and patches it once it is loaded."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                patch(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "LOSSTUNE_FAULTS" in os.environ:
    sys.meta_path.insert(0, Finder())
