"""What a worker process does first."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from mriprep.logs import LOG_VARIABLE, log_to


def start(folder: str, environment: Mapping[str, str]) -> None:
    """Take over folder and environment of the process that wants the work.

    The server that workers are forked from may have been started earlier, with others. Nipype's
    messages go to the run's log file instead of the terminal.
    """
    # Ctrl-C at a terminal reaches every process: the main one ends the others, without tracebacks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if LOG_VARIABLE in environment:
        log_to(environment[LOG_VARIABLE])
