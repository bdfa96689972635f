"""Imported once by the server that worker processes are forked from: what takes long to import.

Workers then start at once, and share these modules in memory.
"""

import os

os.environ.setdefault('NIPYPE_NO_ET', '1')

import scipy.interpolate
import scipy.ndimage  # noqa: F401

import mriprep.atlas
import mriprep.border
import mriprep.extraction
import mriprep.extractors.verdicts
import mriprep.figures
import mriprep.images
import mriprep.interfaces.bias
import mriprep.interfaces.brain
import mriprep.interfaces.conform
import mriprep.interfaces.derivatives
import mriprep.interfaces.figures
import mriprep.interfaces.grids
import mriprep.likeness
import mriprep.shape
import mriprep.svg
import mriprep.workers  # noqa: F401
