"""Get one file over HTTP: resumed where it broke off, never joined from two different files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, int | None], None]  # bytes had so far; bytes in all, None if unknown

TIMEOUTS_S = (20, 60)  # to connect; between two pieces
TRIES = 5  # connections that break in the middle, one after the other
PIECE = 1 << 16  # what is lost of a connection that breaks


class DownloadError(RuntimeError):
    """A file that can't be had; the message says which, why and what to do."""


class _BrokenOffError(Exception):
    """The connection ended early; what came is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What identifies the file on the server that a part belongs to."""

    url: str
    etag: str | None = None
    modified: str | None = None
    size: int | None = None  # bytes in all

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` takes: a strong entity tag or a date."""
        weak = self.etag is not None and self.etag.startswith('W/')
        return self.modified if weak or self.etag is None else self.etag


def without_secrets(url: str) -> str:
    """Return a URL without user, password and query, which may hold keys.

    Examples
    --------
    >>> without_secrets('https://me:secret@example.org:8080/w.zip?key=1')
    'https://example.org:8080/w.zip'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition('@')[2], parts.path, '', ''))


def download(url: str, part: Path, *, progress: Progress | None = None) -> None:
    """Get a file; when that fails, what came is kept and the next call goes on from there.

    Beside ``part`` stands ``part.json``: it says which file of the server the part belongs to. If
    the server's file has changed since, or the server does not give parts, the download starts
    over. The caller moves the file away and calls `forget`.

    Parameters
    ----------
    url : str
        http or https.
    part : Path
        Where the file goes; its folder exists.
    progress : callable, optional
        Called after each piece.

    Raises
    ------
    DownloadError
        If there is no such file or server, the connection breaks again and again, or the disk
        is full.
    """
    import requests

    if urlsplit(url).scheme not in ('http', 'https'):
        raise DownloadError(f'{without_secrets(url)}: not a URL of http or https; correct it')
    with requests.Session() as session:
        for attempt in range(1, TRIES + 1):
            before = _size(part)
            try:
                _continue(session, url, part, progress)
            except (_BrokenOffError, requests.RequestException) as error:
                if attempt < TRIES and _size(part) > before:
                    continue
                raise DownloadError(_explain(url, part, error)) from error
            except OSError as error:
                raise DownloadError(_explain_disk(part, error)) from error
            return


def forget(part: Path) -> None:
    """Delete what came of a download."""
    for path in (part, _state(part)):
        path.unlink(missing_ok=True)


def _continue(session: requests.Session, url: str, part: Path, progress: Progress | None) -> None:
    """Get what is missing of a file in one connection."""
    source = _read_state(part)
    if source is None or source.url != url or not _resumable(source, _size(part)):
        forget(part)
        source = None
    if source is not None and source.size == _size(part):
        return
    with _get(session, url, source, _size(part)) as response:
        if response.status_code == 206:
            offset = _size(part)
        else:
            source, offset = _describe(url, response), 0
            _write_state(source, part)
        size = source.size if source is not None else None
        _forbid_full_disk(part, offset, size)
        _receive(response, part, offset, size, progress)


def _get(
    session: requests.Session, url: str, source: _Source | None, offset: int
) -> requests.Response:
    """Ask for a file, or for the rest of the very one that a part belongs to.

    The answer's status is 206 if it is that rest, 200 if it is a whole file.
    """
    headers = {'Accept-Encoding': 'identity'}
    if source is not None:
        headers['Range'] = f'bytes={offset}-'
        if source.validator:
            headers['If-Range'] = source.validator
    response = session.get(url, headers=headers, stream=True, timeout=TIMEOUTS_S)
    if source is not None and (
        response.status_code == 416  # the file is shorter now
        or (response.status_code == 206 and not _continues(response, source, offset))
    ):
        response.close()
        return _get(session, url, None, 0)
    if message := _refusal(url, response, whole=source is None):
        response.close()
        raise DownloadError(message)
    return response


def _refusal(url: str, response: requests.Response, *, whole: bool) -> str | None:
    """Say why an answer is not the file; None when it is."""
    shown, code = without_secrets(url), response.status_code
    if url.startswith('https:') and not response.url.startswith('https:'):
        return f'{shown}: the server leads to an address without encryption; report this'
    if code in (404, 410):
        return f'{shown}: there is no such file (HTTP {code}); update mriprep, or name a mirror'
    if code == 429 or code >= 500:
        return f'{shown}: the server is busy or broken (HTTP {code}); try again later'
    if code != 200 and (whole or code != 206):
        return f'{shown}: the server refuses (HTTP {code}); check proxy and network, or try later'
    if response.headers.get('Content-Type', '').startswith('text/html'):
        return (
            f'{shown}: a web page came and not a file; '
            'log in to your network if it has a login page, or try later'
        )
    return None


def _continues(response: requests.Response, source: _Source, offset: int) -> bool:
    """Whether a partial answer is the rest of the very file that the part belongs to."""
    new = _describe(source.url, response)
    start, _, total = response.headers.get('Content-Range', '').partition('/')
    return (
        start.startswith(f'bytes {offset}-')
        and total == str(source.size)
        and (None in (new.etag, source.etag) or new.etag == source.etag)
        and (None in (new.modified, source.modified) or new.modified == source.modified)
    )


def _describe(url: str, response: requests.Response) -> _Source:
    headers = response.headers
    size = headers.get('Content-Length', '')
    encoded = headers.get('Content-Encoding', 'identity') != 'identity'
    return _Source(
        url=url,
        etag=headers.get('ETag'),
        modified=headers.get('Last-Modified'),
        size=int(size) if size.isdecimal() and not encoded else None,
    )


def _resumable(source: _Source, have: int) -> bool:
    """Whether a part can be continued and a change of the file would be seen."""
    marked = source.etag is not None or source.modified is not None
    return marked and source.size is not None and 0 < have <= source.size


def _receive(
    response: requests.Response,
    part: Path,
    offset: int,
    size: int | None,
    progress: Progress | None,
) -> None:
    """Write the body behind the first ``offset`` bytes of a part."""
    done = offset
    with part.open('r+b' if offset else 'wb') as stream:
        stream.seek(offset)
        for piece in response.iter_content(PIECE):
            stream.write(piece)
            done += len(piece)
            if progress is not None:
                progress(done, size)
    if size is not None and done < size:
        raise _BrokenOffError(f'{done} of {size} bytes came')
    if size is not None and done > size:
        forget(part)
        raise _BrokenOffError(f'{done} bytes came instead of {size}')


def _forbid_full_disk(part: Path, offset: int, size: int | None) -> None:
    if size is not None and shutil.disk_usage(part.parent).free < size - offset:
        raise OSError(errno.ENOSPC, f'{size / 1e6:.0f} MB are needed')


def _explain(url: str, part: Path, error: Exception) -> str:
    """Say why a file did not come, in one line."""
    import requests

    shown, host = without_secrets(url), urlsplit(url).hostname
    kept = f'; {_size(part) / 1e6:.1f} MB are kept, so that the next try goes on from there'
    kept = kept if _size(part) else ''
    if isinstance(error, requests.exceptions.SSLError):
        return f'{shown}: the certificate of {host} is not trusted; check clock and proxy'
    if isinstance(error, requests.exceptions.ProxyError):
        return f'{shown}: the proxy does not answer; check the variable https_proxy'
    if isinstance(error, requests.exceptions.Timeout):
        return f'{shown}: no answer in time; check the network and try again{kept}'
    broken = (_BrokenOffError, requests.exceptions.ChunkedEncodingError)
    if _size(part) or isinstance(error, broken):
        return f'{shown}: the connection broke off; try again{kept}'
    if isinstance(error, requests.exceptions.ConnectionError):
        return f'{shown}: {host} can not be reached; check network and proxy, or name a mirror'
    return f'{shown}: {" ".join(str(error).split())}; check the address'


def _explain_disk(part: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = error.strerror if 'needed' in (error.strerror or '') else 'nothing more fits'
        return f'{part.parent}: the disk is full ({why}); make room or choose another folder'
    what = os.strerror(error.errno) if error.errno else str(error)
    return f'{part}: can not be written ({what}); choose another folder'


def _state(part: Path) -> Path:
    return part.with_name(f'{part.name}.json')


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read_state(part: Path) -> _Source | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        values: dict[str, Any] = json.loads(_state(part).read_text(encoding='utf-8'))
        return _Source(**values)
    return None


def _write_state(source: _Source, part: Path) -> None:
    from mriprep.files import write_json

    part.unlink(missing_ok=True)  # never a part of one file under the state of another
    write_json(asdict(source), _state(part))
