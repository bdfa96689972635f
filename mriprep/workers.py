"""Imported once by the server that worker processes are forked from.

What nodes need is imported here, so that every worker starts at once; and Nipype's messages go
to the run's log file instead of the terminal.
"""

import os

os.environ.setdefault('NIPYPE_NO_ET', '1')

import nipype.interfaces.ants
import nipype.pipeline.engine  # noqa: F401

import mriprep.interfaces.brain
import mriprep.interfaces.conform
import mriprep.interfaces.derivatives
import mriprep.interfaces.figures  # noqa: F401
from mriprep.logs import LOG_VARIABLE, log_to

if LOG_VARIABLE in os.environ:
    log_to(os.environ[LOG_VARIABLE])
