"""Import this to put the embedded programs on ``PATH``, in any Nipype script.

Examples
--------
>>> import mriprep.tools.ants
>>> import shutil
>>> shutil.which('N4BiasFieldCorrection')  # doctest: +ELLIPSIS
'...mriprep/tools/bin/N4BiasFieldCorrection'
"""

from mriprep.settings import AntsSource
from mriprep.tools import activate

activate(AntsSource.EMBEDDED)
