"""Workflow factories. Public for embedding: `init_t1w_wf`.

Importing this puts the ANTs programs of the antspyx wheel on ``PATH``; `mriprep.tools.activate`
chooses others.
"""

from mriprep.workflows.t1w import init_t1w_wf

__all__ = ['init_t1w_wf']
