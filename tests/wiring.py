"""Checks of Nipype workflows that Nipype itself does not make."""

from __future__ import annotations

from collections.abc import Iterator

import nipype.pipeline.engine as pe


def dangling_ports(workflow: pe.Workflow) -> Iterator[str]:
    """Yield every edge end that names a port its node lacks."""
    for src, dst, edge in workflow._graph.edges(data=True):
        for out, into in edge['connect']:
            out = out[0] if isinstance(out, tuple) else out
            if isinstance(src, pe.Node) and out not in dict(src.outputs.items()):
                yield f'{src.fullname}.{out}'
            if isinstance(dst, pe.Node) and into not in dict(dst.inputs.items()):
                yield f'{dst.fullname}.{into}'
    for node in workflow._graph:
        if isinstance(node, pe.Workflow):
            yield from dangling_ports(node)
