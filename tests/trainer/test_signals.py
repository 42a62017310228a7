"""The first signal asks, the second insists."""

import os
import signal

import pytest

from trainer.signals import stop_on_signal

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_the_first_signal_only_asks_to_stop(signum: signal.Signals, code: int) -> None:
    with stop_on_signal() as stop:
        assert not stop
        os.kill(os.getpid(), signum)
        assert stop
        assert stop.exit_code == code


def test_the_second_signal_stops_at_once() -> None:
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, former)


@pytest.mark.parametrize("signum", [signum for signum, _ in SIGNALS])
def test_former_handlers_stand_again_afterwards(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with stop_on_signal():
        assert signal.getsignal(signum) is not before
    assert signal.getsignal(signum) is before
