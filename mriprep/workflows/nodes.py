"""Small nodes that every factory uses."""

from __future__ import annotations

import re

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe


def buffer(name: str, *fields: str) -> pe.Node:
    """Make a node that hands its inputs on."""
    return pe.Node(niu.IdentityInterface(fields=list(fields)), name=name)


def merge_node(name: str, count: int) -> pe.Node:
    """Make a node that joins ``in1`` to ``inN`` into the list ``out``."""
    return pe.Node(niu.Merge(count), name=name)


def node_name(*words: str | None) -> str:
    """Join words into a name that Nipype accepts.

    >>> node_name('sub', '01', None, 'MNIPediatricAsym+3', 'wf')
    'sub_01_MNIPediatricAsym_3_wf'
    """
    return '_'.join(re.sub(r'\W', '_', word) for word in words if word)
