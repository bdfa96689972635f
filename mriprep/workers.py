"""What a worker process does first."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mriprep.logs import LOG_VARIABLE, log_to


def start(folder: str, environment: Mapping[str, str]) -> None:
    """Take over folder and environment of the process that wants the work.

    The server that workers are forked from may have been started earlier, with others. Nipype's
    messages go to the run's log file instead of the terminal.
    """
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if LOG_VARIABLE in environment:
        log_to(environment[LOG_VARIABLE])
