"""Weights are found, fetched whole from a server that misbehaves, and never trusted blindly."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import re
import shutil
import socket
import stat
import subprocess
import threading
import zipfile
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from mriprep import archives, weights
from mriprep.download import PIECE
from mriprep.weights import Weights, WeightsError, checksum, fetch, find, verify

CONTENT = np.random.default_rng(5).bytes(1_000_000)
KEPT = 4 * PIECE  # bytes that come before the connection breaks
OTHER = np.random.default_rng(6).bytes(1_000_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves one file under any path; tests set how it misbehaves."""

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.content = CONTENT
        self.etag = '"one"'
        self.status = 200
        self.ranges = True
        self.obeys_if_range = True
        self.content_type = 'application/octet-stream'
        self.cuts = []  # after how many bytes of a body the connection is closed
        self.requests = []  # (Range, If-Range) of each
        self.arrived = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}/file'

    @property
    def ranges_asked(self):
        return [asked for asked, _ in self.requests]

    def handle_error(self, request, client_address):
        pass  # clients that hang up are expected


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked, if_range = self.headers.get('Range'), self.headers.get('If-Range')
        server.requests.append((asked, if_range))
        server.arrived.set()
        server.go_on.wait(30)
        if server.status != 200:
            self.send_response(server.status)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        start = 0
        same = if_range in (None, server.etag) or not server.obeys_if_range
        if asked and server.ranges and same:
            start = int(re.fullmatch(r'bytes=(\d+)-', asked)[1])
            if start >= len(server.content):
                self.send_response(416)
                self.send_header('Content-Length', '0')
                self.end_headers()
                return
            self.send_response(206)
            total = len(server.content)
            self.send_header('Content-Range', f'bytes {start}-{total - 1}/{total}')
        else:
            self.send_response(200)
        body = server.content[start:]
        if server.etag:
            self.send_header('ETag', server.etag)
        self.send_header('Content-Type', server.content_type)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.go_on.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'weights'


def network(server, **changes):
    values = {'name': 'net', 'url': server.url, 'files': ('net.pt',)}
    return Weights(**(values | changes))


def packed(*entries, compression=zipfile.ZIP_STORED):
    """A zip file of (name or ZipInfo, content)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def nothing_else(root, *names):
    """Whether nothing but these, and the lock, stands in the weights folder."""
    return sorted(path.name for path in root.iterdir() if path.suffix != '.lock') == sorted(names)


# the folder


def test_flag_counts_before_variable_before_home(monkeypatch, tmp_path):
    monkeypatch.delenv('MRIPREP_WEIGHTS_DIR', raising=False)
    monkeypatch.setattr(platformdirs, 'user_data_path', lambda *_, **__: tmp_path / 'home')
    assert weights.weights_folder() == tmp_path / 'home' / 'weights'
    monkeypatch.setenv('MRIPREP_WEIGHTS_DIR', str(tmp_path / 'variable'))
    assert weights.weights_folder() == tmp_path / 'variable'
    assert weights.weights_folder(tmp_path / 'flag') == tmp_path / 'flag'


@pytest.mark.parametrize('fails', [True, False])
def test_user_without_home_is_told(monkeypatch, fails):
    def user_data_path(*_, **__):
        if fails:
            raise RuntimeError('no home')
        return Path('~/.local/share')  # as expanduser leaves it

    monkeypatch.delenv('MRIPREP_WEIGHTS_DIR', raising=False)
    monkeypatch.setattr(platformdirs, 'user_data_path', user_data_path)
    with pytest.raises(WeightsError, match='--weights-dir or MRIPREP_WEIGHTS_DIR'):
        weights.weights_folder()
    assert find(Weights(name='net', url='', files=('a',))) is None


def test_own_folder_counts_before_elsewhere_and_must_be_complete(root, tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    net = Weights(name='net', url='', files=('a', 'below/b'), archive=True, elsewhere=(elsewhere,))
    for folder in (elsewhere, root, root / 'net'):
        assert find(net, root) == (None if folder == elsewhere else elsewhere)
        (folder / 'below').mkdir(parents=True)
        (folder / 'below' / 'b').touch()
        if folder == elsewhere:
            assert find(net, root) is None
            (folder / 'a').touch()
    assert find(net, root) == elsewhere
    (root / 'a').touch()  # a folder that the user names may hold the files themselves
    assert find(net, root) == root
    (root / 'net' / 'a').touch()
    assert find(net, root) == root / 'net'


def test_several_files_come_in_an_archive():
    with pytest.raises(ValueError, match='archive'):
        Weights(name='net', url='', files=('a', 'b'))


# checksums


def test_checksum_is_the_one_of_sha256sum_and_changes_with_each_file(root):
    net = Weights(name='net', url='', files=('a', 'b'), archive=True)
    place = root / 'net'
    place.mkdir(parents=True)
    (place / 'a').write_bytes(b'one')
    (place / 'b').write_bytes(b'two')
    first = checksum(net, root)
    listing = f'{sha256(b"one")}  a\n{sha256(b"two")}  b\n'
    assert first == sha256(listing.encode())
    if program := shutil.which('sha256sum'):
        done = subprocess.run([program, 'a', 'b'], cwd=place, capture_output=True, check=True)
        assert done.stdout == listing.encode()
    (place / 'b').write_bytes(b'three')
    assert checksum(net, root) != first
    (place / 'b').write_bytes(b'two')
    assert checksum(net, root) == first


def test_a_file_is_read_once(monkeypatch, root):
    net = Weights(name='net', url='', files=('a',))
    root.mkdir()
    (root / 'a').write_bytes(b'one')
    first = checksum(net, root)

    def refuse(*_):
        raise AssertionError('read again')

    monkeypatch.setattr(hashlib, 'file_digest', refuse)
    assert checksum(net, root) == first


def test_absent_weights_are_named_with_the_remedy(root):
    net = Weights(name='net', url='', files=('a',))
    for function in (checksum, verify):
        with pytest.raises(WeightsError, match=r'net: .*mriprep fetch net'):
            function(net, root)


# whole downloads


def test_file_is_fetched_recorded_and_not_fetched_again(server, root):
    net = network(server, licence='Apache-2.0')
    seen = []
    place = fetch(net, root, progress=lambda *amounts: seen.append(amounts))
    assert place == root / 'net'
    assert (place / 'net.pt').read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    record = json.loads((place / 'origin.json').read_text())
    assert record['url'] == server.url
    assert record['sha256'] == sha256(CONTENT)
    assert record['licence'] == 'Apache-2.0'
    assert record['files'] == {'net.pt': {'sha256': sha256(CONTENT), 'size': len(CONTENT)}}
    assert set(record) >= {'date', 'mriprep'}
    assert nothing_else(root, 'net')
    assert fetch(net, root) == place
    assert len(server.requests) == 1
    assert verify(net, root) == checksum(net, root)


def test_folder_can_be_read_by_others_as_the_user_allows(server, root):
    before = os.umask(0o022)
    try:
        place = fetch(network(server), root)
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert stat.S_IMODE((place / 'net.pt').stat().st_mode) == 0o644
    assert stat.S_IMODE((place / 'origin.json').stat().st_mode) == 0o644


def test_variable_names_a_mirror_and_its_keys_are_not_recorded(monkeypatch, server, root):
    net = network(server, name='my-net', url='http://127.0.0.1:1/gone')
    mirror = server.url.replace('://', '://me:secret@') + '?key=secret'
    monkeypatch.setenv('MRIPREP_WEIGHTS_URL_MY_NET', mirror)
    place = fetch(net, root)
    assert (place / 'net.pt').read_bytes() == CONTENT
    text = (place / 'origin.json').read_text()
    assert json.loads(text)['fetched_from'] == server.url
    assert 'secret' not in text
    monkeypatch.delenv('MRIPREP_WEIGHTS_URL_MY_NET')
    assert fetch(net, root) == place  # what the mirror gave stays good


def test_weights_of_another_program_are_taken_unless_a_folder_is_named(
    monkeypatch, server, root, tmp_path
):
    monkeypatch.delenv('MRIPREP_WEIGHTS_DIR', raising=False)
    monkeypatch.setattr(platformdirs, 'user_data_path', lambda *_, **__: tmp_path / 'home')
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (elsewhere / 'net.pt').write_bytes(CONTENT)
    net = network(server, elsewhere=(elsewhere,))
    assert fetch(net) == elsewhere
    assert server.requests == []
    assert fetch(net, root) == root / 'net'
    assert len(server.requests) == 1


def test_named_folder_that_holds_the_files_itself_is_enough(server, root):
    root.mkdir()
    (root / 'net.pt').write_bytes(CONTENT)
    assert fetch(network(server, sha256=sha256(CONTENT)), root) == root
    assert server.requests == []


def test_another_url_for_the_same_name_is_a_new_version(server, root):
    fetch(network(server), root)
    server.content = OTHER
    place = fetch(network(server, url=f'{server.url}-2'), root)
    assert (place / 'net.pt').read_bytes() == OTHER


# broken downloads


def test_cut_connection_is_taken_up_where_it_was(server, root):
    server.cuts = [KEPT]
    place = fetch(network(server), root)
    assert (place / 'net.pt').read_bytes() == CONTENT
    assert server.requests == [(None, None), (f'bytes={KEPT}-', '"one"')]
    assert nothing_else(root, 'net')


def test_what_came_is_kept_for_the_next_call(server, root):
    server.cuts = [KEPT, 0]
    with pytest.raises(WeightsError, match=r'broke off; try again; 0\.3 MB are kept'):
        fetch(network(server), root)
    assert (root / 'net.part').read_bytes() == CONTENT[:KEPT]
    assert find(network(server), root) is None
    place = fetch(network(server), root)
    assert (place / 'net.pt').read_bytes() == CONTENT
    assert server.ranges_asked == [None, f'bytes={KEPT}-', f'bytes={KEPT}-']


def test_connections_that_always_break_end_with_an_error(server, root):
    server.cuts = [PIECE] * 50
    with pytest.raises(WeightsError, match='broke off'):
        fetch(network(server), root)
    assert len(server.requests) == 5


def test_complete_part_needs_no_request_for_its_rest(server, root):
    server.cuts = [15 * KEPT // 4, 0]
    with pytest.raises(WeightsError):
        fetch(network(server), root)
    with (root / 'net.part').open('ab') as stream:
        stream.write(CONTENT[15 * KEPT // 4 :])
    before = len(server.requests)
    place = fetch(network(server), root)
    assert (place / 'net.pt').read_bytes() == CONTENT
    assert len(server.requests) == before


@pytest.mark.parametrize('etag', ['"one"', None])
def test_without_ranges_or_marks_it_starts_over(server, root, etag):
    server.ranges = etag is None
    server.etag = etag
    server.cuts = [KEPT]
    place = fetch(network(server), root)
    assert (place / 'net.pt').read_bytes() == CONTENT
    assert len(server.requests) == 2
    if etag is None:  # nothing would tell another file of the same size
        assert server.ranges_asked == [None, None]


@pytest.mark.parametrize('obeys', [True, False])
@pytest.mark.parametrize('content', [OTHER, OTHER[:700_000], OTHER[:200_000], OTHER * 2])
def test_two_files_are_never_joined(server, root, content, obeys):
    server.obeys_if_range = obeys
    server.cuts = [KEPT, 0]
    with pytest.raises(WeightsError):
        fetch(network(server), root)
    server.content, server.etag = content, '"two"'
    place = fetch(network(server), root)
    assert (place / 'net.pt').read_bytes() == content


def test_part_of_another_address_is_not_continued(server, root):
    server.cuts = [KEPT, 0]
    with pytest.raises(WeightsError):
        fetch(network(server), root)
    fetch(network(server, url=f'{server.url}-2'), root)
    assert server.ranges_asked[-1] is None


def test_damaged_state_of_a_part_is_ignored(server, root):
    server.cuts = [KEPT, 0]
    with pytest.raises(WeightsError):
        fetch(network(server), root)
    (root / 'net.part.json').write_text('{"url": 3')
    assert (fetch(network(server), root) / 'net.pt').read_bytes() == CONTENT


@pytest.mark.parametrize(
    ('status', 'words'),
    [
        (404, r'no such file \(HTTP 404\); update mriprep'),
        (403, r'the server refuses \(HTTP 403\)'),
        (503, r'busy or broken \(HTTP 503\); try again later'),
        (206, r'the server refuses \(HTTP 206\)'),
    ],
)
def test_answers_that_are_no_file_are_explained(server, root, status, words):
    server.status = status
    with pytest.raises(WeightsError, match=words) as caught:
        fetch(network(server), root)
    assert str(caught.value).startswith(f'net: {server.url}: ')
    assert nothing_else(root)


def test_busy_server_does_not_cost_what_came(server, root):
    server.cuts = [KEPT, 0]
    with pytest.raises(WeightsError):
        fetch(network(server), root)
    server.status = 503
    with pytest.raises(WeightsError, match='503'):
        fetch(network(server), root)
    assert (root / 'net.part').stat().st_size == KEPT


def test_web_page_is_no_file(server, root):
    server.content_type = 'text/html; charset=utf-8'
    with pytest.raises(WeightsError, match='a web page came'):
        fetch(network(server), root)
    assert nothing_else(root)


def test_refused_connection_names_the_host(monkeypatch, root):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{taken.getsockname()[1]}/file'
        with pytest.raises(WeightsError, match=r'127\.0\.0\.1 can not be reached'):
            fetch(Weights(name='net', url=url, files=('a',)), root)


@pytest.mark.parametrize('url', ['ftp://example.org/a', 'file:///etc/passwd', 'weights.zip'])
def test_only_http_is_spoken(root, url):
    with pytest.raises(WeightsError, match='not a URL of http'):
        fetch(Weights(name='net', url=url, files=('a',)), root)


def test_full_disk_is_seen_before_anything_is_written(monkeypatch, server, root):
    usage = type(shutil.disk_usage(root.parent))(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(WeightsError, match=r'disk is full \(1 MB are needed\); make room'):
        fetch(network(server), root)
    assert not (root / 'net.part').exists()


def test_full_disk_while_unpacking_keeps_the_download(monkeypatch, server, root):
    def fail(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'copyfile', fail)
        with pytest.raises(WeightsError, match='No space left on device'):
            fetch(network(server), root)
    assert nothing_else(root, 'net.part', 'net.part.json')
    fetch(network(server), root)
    assert len(server.requests) == 1


def test_folder_that_can_not_be_written_is_named(server, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(WeightsError, match=r'file.*can not be written.*--weights-dir'):
        fetch(network(server), tmp_path / 'file' / 'weights')
    assert server.requests == []


def test_read_only_folder_serves_what_it_holds(server, root):
    place = fetch(network(server), root)
    root.chmod(0o555)
    try:
        if os.access(root, os.W_OK):
            pytest.skip('this user writes everywhere')
        assert fetch(network(server), root) == place
        with pytest.raises(WeightsError, match=r'can not be written.*--weights-dir'):
            fetch(network(server, name='other'), root)
    finally:
        root.chmod(0o755)
    assert len(server.requests) == 1


# trust


def test_pinned_checksum_is_compared(server, root):
    with pytest.raises(WeightsError, match=f'{sha256(CONTENT)} instead of 0000'):
        fetch(network(server, sha256='0000'), root)
    assert nothing_else(root)
    net = network(server, sha256=sha256(CONTENT))
    assert (fetch(net, root) / 'net.pt').read_bytes() == CONTENT
    assert verify(net, root) == checksum(net, root)


def test_pin_of_a_newer_version_replaces_what_stands(server, root):
    fetch(network(server), root)
    server.content, server.etag = OTHER, '"two"'
    newer = network(server, sha256=sha256(OTHER))
    with pytest.raises(WeightsError, match=r'not the weights that this version .*fetch net'):
        verify(newer, root)
    assert (fetch(newer, root) / 'net.pt').read_bytes() == OTHER


def test_pin_holds_for_a_file_put_there_by_hand(server, root):
    (root / 'net').mkdir(parents=True)
    (root / 'net' / 'net.pt').write_bytes(OTHER)
    verify(network(server), root)
    with pytest.raises(WeightsError, match='instead of'):
        verify(network(server, sha256=sha256(CONTENT)), root)


def test_changed_file_is_found_and_put_back(server, root):
    net = network(server)
    path = fetch(net, root) / 'net.pt'
    damage(path)
    with pytest.raises(WeightsError, match=r'net\.pt: not what was fetched on 20.*fetch net'):
        verify(net, root)
    fetch(net, root)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_server_that_gives_something_else_now_is_not_believed(server, root):
    net = network(server)
    path = fetch(net, root) / 'net.pt'
    damage(path)
    server.content, server.etag = OTHER, '"two"'
    with pytest.raises(WeightsError, match=rf'not what was fetched on .*delete {root / "net"}'):
        fetch(net, root)
    assert path.read_bytes() == CONTENT[:-1] + b'!'
    assert nothing_else(root, 'net')
    shutil.rmtree(root / 'net')
    assert (fetch(net, root) / 'net.pt').read_bytes() == OTHER


def test_record_that_can_not_be_read_is_named(server, root):
    net = network(server)
    record = fetch(net, root) / 'origin.json'
    for text in ('[]', 'no JSON'):
        record.write_text(text)
        with pytest.raises(WeightsError, match=r'origin\.json: can not be read'):
            verify(net, root)
    fetch(net, root)
    assert verify(net, root) == checksum(net, root)


def test_folder_of_somebody_else_is_not_replaced(server, root):
    (root / 'net').mkdir(parents=True)
    (root / 'net' / 'thesis.tex').touch()
    with pytest.raises(WeightsError, match='files that mriprep did not fetch; move them away'):
        fetch(network(server), root)
    assert nothing_else(root / 'net', 'thesis.tex')
    assert server.requests == []


def damage(path):
    path.write_bytes(path.read_bytes()[:-1] + b'!')
    os.utime(path, ns=(0, 0))


# archives


def test_archive_is_unpacked_whole(server, root):
    server.content = packed(('plans.json', '{}'), ('fold_all/net.pth', CONTENT), ('LICENSE', 'x'))
    net = network(server, archive=True, files=('plans.json', 'fold_all/net.pth'))
    place = fetch(net, root)
    assert (place / 'fold_all' / 'net.pth').read_bytes() == CONTENT
    assert (place / 'LICENSE').read_text() == 'x'
    record = json.loads((place / 'origin.json').read_text())
    assert record['sha256'] == sha256(server.content)
    assert set(record['files']) == set(net.files)
    assert nothing_else(root, 'net')


def test_one_folder_around_everything_is_left_out(server, root):
    server.content = packed(('__MACOSX/._a', 'x'), ('release/a', 'a'), ('release/b/c', 'c'))
    place = fetch(network(server, archive=True, files=('a', 'b/c')), root)
    assert (place / 'b' / 'c').read_text() == 'c'
    assert nothing_else(place, 'a', 'b', 'origin.json')


def link():
    entry = zipfile.ZipInfo('a')
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ('entries', 'words'),
    [
        ([('a', 'x'), ('../evil', 'x')], 'leave its folder'),
        ([('a', 'x'), ('b/../../evil', 'x')], 'leave its folder'),
        ([('a', 'x'), ('/evil', 'x')], 'leave its folder'),
        ([('a', 'x'), ('C:/evil', 'x')], 'leave its folder'),
        ([('a', 'x'), ('b\\..\\evil', 'x')], 'leave its folder'),
        ([(link(), '/etc/passwd')], 'a link or a device'),
        ([('b', 'x')], 'lacks a; it holds b'),
        ([('a', 'x'), ('a/b', 'x')], 'two files of one name'),
        ([], 'lacks a; it holds nothing'),
    ],
)
def test_archives_that_are_not_safe_or_not_right_are_refused(server, root, entries, words):
    server.content = packed(*entries)
    with pytest.raises(WeightsError, match=words) as caught:
        fetch(network(server, archive=True, files=('a',)), root)
    assert server.url in str(caught.value)
    assert nothing_else(root)
    assert nothing_else(root.parent, 'weights')


def test_bombs_are_refused(monkeypatch, server, root):
    net = network(server, archive=True, files=('a',))
    server.content = packed(('a', bytes(5_000_000)), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match=r'MB that unpack to 5 MB'):
        fetch(net, root)
    server.content = packed(('a', 'x'), *((f'{number}', '') for number in range(20)))
    monkeypatch.setattr(archives, 'MAX_ENTRIES', 20)
    with pytest.raises(WeightsError, match='21 files, more than 20'):
        fetch(net, root)
    monkeypatch.setattr(archives, 'MAX_BYTES', 1000)
    server.content = packed(('a', CONTENT))
    with pytest.raises(WeightsError, match='that unpack to 1 MB'):
        fetch(net, root)
    assert nothing_else(root)


def test_entry_that_understates_its_size_is_refused(tmp_path):
    content = bytearray(packed(('a', bytes(100_000)), compression=zipfile.ZIP_DEFLATED))
    size = (100_000).to_bytes(4, 'little')
    while (position := content.find(size)) >= 0:
        content[position : position + 4] = (10).to_bytes(4, 'little')
    path = tmp_path / 'bomb.zip'
    path.write_bytes(content)
    (tmp_path / 'out').mkdir()
    with pytest.raises(archives.ArchiveError, match='damaged'):
        archives.unpack(path, tmp_path / 'out', ['a'])
    assert (tmp_path / 'out' / 'a').stat().st_size <= 10


@pytest.mark.parametrize('spoil', [lambda content: b'<html>', lambda content: content[:-30]])
def test_what_is_no_whole_zip_file_is_refused(server, root, spoil):
    server.content = spoil(packed(('a', CONTENT)))
    with pytest.raises(WeightsError, match='no zip file, or a damaged one'):
        fetch(network(server, archive=True, files=('a',)), root)
    assert nothing_else(root)


def test_flipped_bit_in_an_archive_is_seen(server, root):
    content = bytearray(packed(('a', CONTENT)))
    content[5000] ^= 1
    server.content = bytes(content)
    with pytest.raises(WeightsError, match='damaged'):
        fetch(network(server, archive=True, files=('a',)), root)


def test_leftovers_of_a_killed_process_are_removed(server, root):
    (root / '.net.abc.new' / 'new').mkdir(parents=True)
    fetch(network(server), root)
    assert nothing_else(root, 'net')


# many at once


def test_two_threads_download_once(server, root):
    server.go_on.clear()
    net = network(server)
    places = []
    threads = [threading.Thread(target=lambda: places.append(fetch(net, root))) for _ in range(2)]
    for thread in threads:
        thread.start()
    server.arrived.wait(30)  # one of them downloads; the other waits for the lock or will
    server.go_on.set()
    for thread in threads:
        thread.join(30)
    assert places == [root / 'net'] * 2
    assert len(server.requests) == 1


def test_two_processes_download_once(server, root):
    server.go_on.clear()
    context = multiprocessing.get_context('spawn')
    processes = [context.Process(target=fetch, args=(network(server), root)) for _ in range(2)]
    for process in processes:
        process.start()
    server.arrived.wait(60)
    server.go_on.set()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(server.requests) == 1
    assert (root / 'net' / 'net.pt').read_bytes() == CONTENT
