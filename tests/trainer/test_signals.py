"Signals are noted, and break off only what waits."
import os
import signal
import time

import pytest

from adafocus.trainer.signals import STATUS, Stopped, StopSignals


def send(number): os.kill(os.getpid(), number)


def test_a_signal_breaks_off_the_wait_for_a_batch_not_the_work_on_it():
    with StopSignals() as stop: assert list(stop.iterate([1, 2])) == [1, 2]
    seen = []
    with StopSignals() as stop, pytest.raises(Stopped):
        for k in stop.iterate(range(9)):
            seen.append(k)
            if k == 3: send(signal.SIGTERM)
    assert seen == [0, 1, 2, 3]


def test_among_several_processes_it_is_noted_only():
    with StopSignals() as stop: assert [send(signal.SIGTERM) for _ in stop.iterate(range(3), allowed=False)] == [None]*3
    assert stop.received == signal.SIGTERM


def test_a_second_interrupt_stops_at_once():
    with StopSignals():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
            time.sleep(1)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals(): assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before and sorted(STATUS.values()) == [130, 138, 143]
