"""How a stage or tool ends that is stopped, or refused something by the machine: in one sentence, with nothing half done."""

import atexit
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType

STOPPED = "stopped before it was done: the same command starts it again."
CLEANING = 5  # seconds in which nobody who asks again can keep a process from removing what is half done

status: int | None = None  # of a process that was asked to stop


def end_in_a_sentence() -> None:
    """Prepare this process; before what is slow to import, as that too can be stopped."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it is closed, and the next file would take its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of a shell's & and of nohup
            signal.signal(number, stop)
    sys.excepthook = explain
    atexit.register(end)  # the first to be registered is the last to be called
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=end_with, args=[os.getppid()], daemon=True).start()


def end_with(parent: int) -> None:
    """End this process when `parent` has: DVC takes no stage along when it alone is asked to end, or killed."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)


def stop(number: int, frame: FrameType | None) -> None:
    """End as by an exception: what is half done is removed on the way, whoever asks again meanwhile."""
    if is_importing(frame):  # nothing is half done yet, and not all of Python lets an exception through
        say(STOPPED)
        os._exit(128 + number)
    global status
    status = 128 + number
    until = time.monotonic() + CLEANING
    for both in (signal.SIGINT, signal.SIGTERM):
        signal.signal(both, lambda *_: os._exit(status) if time.monotonic() > until else None)
    atexit.register(say, STOPPED)  # below what bars still draw
    sys.exit(status)


def is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported where `frame` is."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in a sentence what the machine refused; of a fault of ours the whole traceback."""
    if not isinstance(error, OSError):
        sys.__excepthook__(kind, error, trace)
        return
    if not (isinstance(error, BrokenPipeError) and has_no_reader()):
        say(f"{error.filename or 'a file or the output'}: {error.strerror or error}.")
    try:
        sys.stdout.flush()
    except OSError:  # it was this that was refused, and would be again
        drop_the_rest()


def has_no_reader() -> bool:
    """Return whether nobody reads standard output any more, as after | head."""
    output = select.poll()
    output.register(sys.stdout, 0)  # errors are told unasked
    return bool(output.poll(0))


def drop_the_rest() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end() -> None:
    """Write what is still held of standard output: Python itself would do so later, and show a traceback.

    A process that was stopped then ends at once: to take Python apart while threads of TensorFlow still compute
    has crashed it.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_the_rest()
    except OSError as error:
        say(f"the output: {error.strerror}.")
        os._exit(1)  # nothing comes after this but Python's own end
    if status:
        os._exit(status)


def say(sentence: str) -> None:
    with suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)
