"""Runs one tool for no longer than the process that wants it lives; a program of its own.

    python -I -S keeper.py COMMAND ...

Standard input is a pipe whose other end that process alone holds. The system closes it however the
process ends, SIGKILL included; then the keeper ends its process group, with all that the tool started.
"""

import os
import signal
import subprocess
import sys
import threading

CANNOT_RUN = 127
SIGNALLED = 128
"""Added to the number of the signal that ended the tool: the keeper's exit status."""


def main() -> int:
    """The tool's exit status."""
    signal.signal(signal.SIGTERM, _end)
    try:
        tool = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"error: cannot be run ({error.strerror})", flush=True)
        return CANNOT_RUN
    threading.Thread(target=_guard, daemon=True).start()
    status = tool.wait()
    return status if status >= 0 else SIGNALLED - status


def _guard() -> None:
    os.read(0, 1)
    _end()


def _end(*_: object) -> None:
    """The keeper does not leave its tool behind."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
