"""Command line: ``adakern train | meta-train | adapt | quantize | predict | verify | trace | build | …``.

Results go to standard output, everything else to standard error. An error is one line, ``error: where:
what; mend``, and exit status 1 (2 for a wrong command line, 130 after Ctrl-C, 128 and the signal's number
after SIGTERM or SIGHUP, which end a command in the same orderly way). ADAKERN_DEBUG=1 shows the traceback.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from adakern_spec.errors import AdakernError

from . import build, inspect, learn, meta, predict, quantise, verify
from .console import Interrupted, say

DEBUG = "ADAKERN_DEBUG"

FAILED, USAGE, INTERRUPTED = 1, 2, 130
SIGNALLED = 128
TERMINATION = ("SIGTERM", "SIGHUP")
"""Signals that end a command as Ctrl-C does; not every operating system has both."""

app = typer.Typer(
    help="Adaptive-kernel networks on open FPGAs: train, quantise, run on a simulated or real device.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("train")(learn.train)
app.command("quantize")(quantise.quantize)
app.command("meta-train")(meta.meta_train)
app.command("adapt")(meta.adapt)
app.command("predict")(predict.predict)
app.command("verify")(verify.verify)
app.command("trace")(inspect.trace)
app.command("estimate")(inspect.estimate)
app.command("devices")(inspect.devices)
app.command("build")(build.build)
app.command("program")(build.program)
app.command("boards")(build.boards)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    for name in TERMINATION:
        number = getattr(signal, name, None)
        # What is ignored stays ignored: nohup.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)
    status = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(SIGNALLED + received[0] if received and status == INTERRUPTED else status)


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit status."""
    try:
        status = app(list(arguments), prog_name="adakern", standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:  # what typer makes of a KeyboardInterrupt
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except Interrupted as interruption:
        say(f"interrupted: {interruption}")
        return INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted: run the same command again")
        return INTERRUPTED
    except typer.TyperException as error:
        # Typer leaves the prefix of what checked the value in some of its messages.
        message = one_line(error.format_message()).replace("Value error, ", "").rstrip(".")
        say(f"error: command line: {message}; see adakern --help")
        return USAGE
    except BrokenPipeError:
        # Whoever read the results has enough of them; nothing is left to say, and nowhere to say it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        say(f"error: {describe(error)}")
        return FAILED


def describe(error: Exception) -> str:
    """One line for whatever went wrong."""
    if isinstance(error, AdakernError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return one_line(f"{where}{error.strerror}; check the path, its permissions and the free space")
    if isinstance(error, MemoryError):
        return "out of memory; use shorter sequences"
    return one_line(f"{type(error).__name__}: {error}; unexpected, {DEBUG}=1 shows where")


def one_line(text: str) -> str:
    return " ".join(text.split())
