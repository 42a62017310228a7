"""The entry point ``losstune``. Each command imports what it needs, so that ``train`` never loads Ray."""

import sys

import typer

from trainer.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
_FORWARD = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=_FORWARD)
def train(context: typer.Context) -> None:
    """Train one model with one loss."""
    _trainer(context)


@app.command(context_settings=_FORWARD)
def predict(context: typer.Context) -> None:
    """Embed inputs with a trained model."""
    _trainer(context)


def _trainer(context: typer.Context) -> None:
    from trainer.cli import app as trainer_app

    trainer_app([str(context.info_name), *context.args], prog_name="losstune")


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
