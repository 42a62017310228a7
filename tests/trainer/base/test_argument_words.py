"""Messages of the command line in the words of a program, on messages that the product really has."""

import io

import pytest
from rich.text import Text

from losstune.trainer.base.argument_words import ProgramConsole, for_programs, in_argument_words
from losstune.trainer.base.console import say
from losstune.trainer.base.errors import LosstuneError, UserError

MESSAGES = [
    ("--data no.npz: no such file", "data no.npz: no such file"),
    ("give --reduction-factor to settle it", "give reduction_factor to settle it"),
    ("--resume needs --checkpoint RUN/last.pt, or the run's --output-dir",
     "resume needs checkpoint RUN/last.pt, or the run's output_dir"),
    ("--storage s3://bucket/a--b needs --study-storage postgresql://…",
     "storage s3://bucket/a--b needs study_storage postgresql://…"),
    ("it takes 2 CPUs and 1 GPUs (--cpus-per-trial, --gpus-per-trial)",
     "it takes 2 CPUs and 1 GPUs (cpus_per_trial, gpus_per_trial)"),
    ("install those, or go on with --accept-change, which", "install those, or go on with accept_change, which"),
    ("study 'mine' is not confirmed yet: losstune confirm mine trains its best settings with fresh seeds",
     "study 'mine' is not confirmed yet: losstune.confirm('mine') trains its best settings with fresh seeds"),
    ("losstune confirm mine --top 1 --seeds 10 goes on", "losstune.confirm('mine', top=1, seeds=10) goes on"),
    ("losstune confirm mine --storage 'my studies' tells", "losstune.confirm('mine') tells"),
    ("MLflow lacks a part: losstune sync mine", "MLflow lacks a part: losstune sync mine"),
    ("losstune status mine --storage 'my studies' tells how far it is; --trials 5",
     "losstune status mine --storage 'my studies' tells how far it is; trials 5"),
    ("losstune sync mine --storage /x --tracking-uri http://me:***@mlflow",
     "losstune sync mine --storage /x --tracking-uri http://me:***@mlflow"),
    ("cut to 8 dimensions: losstune predict takes --dims 8", "cut to 8 dimensions: losstune predict takes --dims 8"),
    ("as ray start --head prints it; make it one with ray start --address=10.0.0.1:6379",
     "as ray start --head prints it; make it one with ray start --address=10.0.0.1:6379"),
    ("lr: found 0.0; should be greater than 0", "lr: found 0.0; should be greater than 0"),
    ("once that is mended, the same command goes on", "once that is mended, the same call goes on"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "words"), MESSAGES)
def test_a_message_speaks_of_arguments_and_calls(message: str, words: str) -> None:
    assert in_argument_words(message) == words


def test_so_does_what_is_said_on_the_way() -> None:
    said = io.StringIO()
    console = ProgramConsole(file=said, width=20)
    say(console, "Failed trials are tried again with --retry-failed")
    console.print(Text("--like-this"), 5)
    assert said.getvalue() == "Failed trials are tried again with retry_failed\n--like-this 5\n"


def test_what_the_user_can_mend_is_one_kind_of_error_for_programs() -> None:
    @for_programs
    def refuse() -> None:
        raise UserError("--max-epochs: found 0")

    with pytest.raises(LosstuneError, match=r"^max_epochs: found 0$") as caught:
        refuse()
    assert type(caught.value) is LosstuneError
    assert caught.value.__cause__ is None


def test_faults_of_ours_stay_what_they_are() -> None:
    @for_programs
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
