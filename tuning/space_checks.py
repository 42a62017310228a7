"""Checks of setting names and values in a space file; each failure names its file, line and key."""

from typing import Annotated, Any, NoReturn

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from trainer.config import check_batch_rule, flat_fields, unknown_name
from trainer.errors import UserError
from trainer.losses import LossConfig
from trainer.yaml_file import YamlFile
from tuning.space import MANAGED


class SettingChecks:
    """Checks against the settings that a config with this loss has."""

    def __init__(self, file: YamlFile, loss: type[LossConfig]) -> None:
        self._file = file
        self._loss = loss
        self._fields = flat_fields(loss)

    def name(self, name: str, *path: str | int) -> None:
        """Refuse a name that no setting has, or that a space may not set."""
        if name in MANAGED:
            self.fail(f"can not stand here: {MANAGED[name]}", *path)
        if name not in self._fields:
            raise UserError(f"{self._file.where(*path)}: {dotted(path)}: {unknown_name(name, self._loss, MANAGED)}")

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


def adapter_of(info: FieldInfo) -> TypeAdapter[Any]:
    """Checks one value against a field's type and limits, as its model would."""
    annotated: Any = info.annotation
    for rule in info.metadata:
        annotated = Annotated[annotated, rule]
    return TypeAdapter(annotated, config={"strict": True, "allow_inf_nan": False})


def dotted(path: tuple[str | int, ...]) -> str:
    """``space → lr → low``."""
    return " → ".join(f"item {part + 1}" if isinstance(part, int) else part for part in path)


def rule_of(error: ValidationError) -> str:
    """What pydantic allows, as a phrase."""
    return error.errors()[0]["msg"].removeprefix("Input ")
