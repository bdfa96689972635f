"""Weights of networks in torch's files, read without running what such a file may hold."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from mriprep.extractors.base import ExtractorError


def read_checkpoint(path: Path, *keys: str) -> dict[str, Any]:
    """Read what was saved after training: numbers, names and containers of them.

    Parameters
    ----------
    path
        File that ``torch.save`` wrote.
    keys
        What must be in it.

    Raises
    ------
    ExtractorError
        If the file is absent or damaged, lacks a key, or holds objects that loading would have
        to run.
    """
    import pickle

    import torch

    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of formats that torch knows less well
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise ExtractorError(f'{path} is absent; fetch the weights again') from error
    except pickle.UnpicklingError as error:
        if (stranger := _stranger(error)) is None:
            raise _damaged(path, 'it is no file of weights') from error
        raise ExtractorError(
            f'{path} holds more than the numbers of a network ({stranger}), which could run any '
            'program, so it was not loaded; delete it and fetch the weights again'
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        words = ' '.join(str(error).split())[:120] or type(error).__name__
        raise _damaged(path, words) from error
    missing = [key for key in keys if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise ExtractorError(
            f'{path} lacks {", ".join(missing)}, so it holds another network; '
            'fetch the weights again'
        )
    return dict(checkpoint)


def _damaged(path: Path, words: str) -> ExtractorError:
    return ExtractorError(
        f'{path} can not be read ({words}); delete it and fetch the weights again'
    )


def _stranger(error: Exception) -> str | None:
    """What the file wants to run; torch's own words advise to load it nevertheless."""
    text = ' '.join(str(error).split())
    if found := re.search(r'GLOBAL ([\w.]+)|[Uu]nsupported (?:class|global) ([\w.]+)', text):
        return found[1] or found[2]
    if found := re.search(r'(?:function|type|instance) ([\w.]*\.[\w.]+)', text):
        return found[1]
    return None


def _harmless() -> list[Any]:
    """NumPy's numbers, which the logs of trainings hold."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    kinds = (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
    return [
        # NumPy 1 and 2 know it by different names
        (scalar, 'numpy.core.multiarray.scalar'),
        (scalar, 'numpy._core.multiarray.scalar'),
        np.dtype,
        *{type(np.dtype(kind)) for kind in kinds},
    ]
