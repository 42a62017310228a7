"""Checks of setting names and values in a space file; each failure names its file, line and key."""

from typing import NoReturn

from pydantic import ValidationError

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.yaml_file import YamlFile
from losstune.trainer.config.factory import FACTORY, Factory, adapter_of, rule_of
from losstune.trainer.config.loss_config import LossConfig
from losstune.trainer.config.setting_errors import unknown_name
from losstune.trainer.config.train_config import check_batch_rule, default_settings, flat_fields
from losstune.tuning.space.search_space import MANAGED


class SettingChecks:
    """Checks against the settings that a config with this loss and model has.

    Attributes:
        defaults: what a setting is where a space does not name it; one without a default is not there.
    """

    def __init__(self, file: YamlFile, loss: type[LossConfig], factory: Factory | None) -> None:
        self._file = file
        self._loss = loss
        self._factory = factory
        self._fields = flat_fields(loss, factory)
        self.defaults = default_settings(loss, factory)

    def name(self, name: str, *path: str | int) -> None:
        """Refuse a name that no setting has, or that a space may not set."""
        if name in MANAGED:
            self.fail(f"can not stand here: {MANAGED[name]}", *path)
        if name == FACTORY and path[0] != "fixed":
            self.fail("can not stand here: a space is for one model, which fixed names", *path)
        if name not in self._fields:
            allowed = [setting for setting in self._fields if setting not in MANAGED]
            message = unknown_name(name, self._loss, self._factory, allowed)
            raise UserError(f"{self._file.where(*path)}: {dotted(path)}: {message}")

    def value(self, name: str, value: object, *path: str | int) -> None:
        """Refuse a value outside a setting's type and limits, or a batch that the loss's rule forbids."""
        try:
            adapter_of(self._fields[name].info).validate_python(value)
        except ValidationError as error:
            self.fail(f"found {value!r}; {rule_of(error)}", *path)
        if name == "batch_size" and isinstance(value, int):
            try:
                check_batch_rule(value, self._loss)
            except UserError as error:
                raise UserError(f"{self._file.where(*path)}: {error}") from None

    def takes_integers(self, name: str) -> bool:
        """Whether a setting is a whole number."""
        try:
            adapter_of(self._fields[name].info).validate_python(1.5)
        except ValidationError as error:
            return any(finding["type"].startswith("int") for finding in error.errors())
        return False

    def fail(self, message: str, *path: str | int) -> NoReturn:
        """Refuse what stands at ``path``."""
        fail(self._file, message, *path)


def fail(file: YamlFile, message: str, *path: str | int) -> NoReturn:
    """Refuse what stands at ``path`` of a file."""
    raise UserError(f"{file.where(*path)}: {dotted(path)}: {message}")


def dotted(path: tuple[str | int, ...]) -> str:
    """``space → lr → low``."""
    return " → ".join(f"item {part + 1}" if isinstance(part, int) else part for part in path)
