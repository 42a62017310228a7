"""A config as YAML: the ``config.yaml`` of a run, and what a study exports."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import check_seal
from losstune.trainer.base.yaml_file import dump_yaml, read_yaml
from losstune.trainer.config.flat_names import flatten
from losstune.trainer.config.matryoshka import one_value
from losstune.trainer.config.train_config import TrainConfig


@dataclass(frozen=True)
class ConfigFile:
    """A config as read from YAML: flat settings, and where it came from if a study exported it."""

    settings: dict[str, Any]
    source: dict[str, Any]


def read_config(path: Path) -> ConfigFile:
    """Read ``config.yaml`` or an exported YAML.

    Raises:
        UserError: with file and line, for anything that is not a valid config.
    """
    config = _read(path)
    TrainConfig.from_flat(config.settings, where=str(path))
    return config


def _read(path: Path) -> ConfigFile:
    file = read_yaml(path)
    data = dict(file.data)
    source = data.pop("source", {})
    if not isinstance(source, dict):
        raise UserError(f"{file.where('source')}: source: found {source!r}; expected a mapping")
    settings = {name: one_value(name, value) for name, value in flatten(data).items()}
    for name in settings:
        if isinstance(settings[name], list):
            raise UserError(f"{file.where(*name.split('.'))}: {name}: found a list; expected one value")
    return ConfigFile(settings, source)


def read_run_settings(path: Path) -> dict[str, Any]:
    """Flat settings of the ``config.yaml`` of a run, which nobody is to edit: they were valid when it was written.

    Raises:
        UserError: it was damaged or edited.
    """
    check_seal(path)
    return _read(path).settings


def config_yaml(config: TrainConfig, source: Mapping[str, Any] | None = None) -> str:
    """A config as YAML, every setting written out, its group ``model`` nested."""
    nested: dict[str, Any] = {}
    for name, value in config.flat().items():
        group, _, field = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[field] = value
    if source:
        nested["source"] = dict(source)
    return dump_yaml(nested)
