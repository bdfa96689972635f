"""Workflow factories. Public for embedding: `init_t1w_wf`."""

from mriprep.workflows.t1w import init_t1w_wf

__all__ = ['init_t1w_wf']
