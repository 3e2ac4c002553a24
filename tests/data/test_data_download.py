"""Downloads from a local server that interrupts, or sends wrong data."""

import fcntl
import hashlib
import http.server
import os
import re
import threading

import numpy as np
import pytest

from hiercam_keras.data.sources import download
from hiercam_keras.errors import UserError

DATA = np.random.default_rng(0).bytes(3_000_000)
SIZE = len(DATA)
SHA = hashlib.sha256(DATA).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends DATA, with optional ranges and interruptions."""

    def do_GET(self):
        server = self.server
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        server.asked.append(int(asked[1]) if asked else None)
        if server.errors:
            self.send_error(server.errors.pop(0))
            return
        if asked and server.ranges:
            start = int(asked[1])
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(server.data) - start))
        self.end_headers()
        stop = server.breaks.pop(0) if server.breaks else len(server.data)
        self.wfile.write(server.data[start:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.data, server.ranges = DATA, True
        server.asked, server.breaks, server.errors = [], [], []
        server.url = f"http://127.0.0.1:{server.server_port}/file.tar.gz"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def fetch(server, tmp_path):
    def fetch(size=SIZE, sha=SHA, **options):
        path = tmp_path / "downloads" / "file.tar.gz"
        return download.fetch(server.url, path, size, sha, **options)

    return fetch


def test_once_and_not_again(fetch, server):
    path = fetch()
    assert path.read_bytes() == DATA
    assert fetch() == path and server.asked == [None]
    assert [one.name for one in path.parent.iterdir()] == ["file.tar.gz"]


def test_what_was_placed_by_hand_is_compared_once(fetch, server, tmp_path):
    path = tmp_path / "downloads" / "file.tar.gz"
    path.parent.mkdir()
    path.write_bytes(b"x" * SIZE)
    with pytest.raises(UserError, match="another SHA-256.*damaged or another one"):
        fetch()
    path.write_bytes(DATA)
    assert fetch() == path and not server.asked
    # Remembered by size and time: who forges both is not found out, a change is.
    stat = path.stat()
    path.write_bytes(b"x" * SIZE)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fetch() == path
    os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match="another SHA-256"):
        fetch()
    assert [one.name for one in path.parent.iterdir()] == ["file.tar.gz"]


def test_goes_on_where_it_broke_off(fetch, server):
    server.breaks = [1_000_000, 2_500_000]
    assert fetch().read_bytes() == DATA
    assert server.asked == [None, 1_000_000, 2_500_000]


def test_the_next_call_goes_on(fetch, server, tmp_path):
    server.breaks, server.errors = [1_200_000], []
    part = tmp_path / "downloads" / "file.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(DATA[:700_001])
    assert fetch().read_bytes() == DATA
    assert server.asked == [700_001, 1_200_000]


def test_a_server_without_ranges_starts_over(fetch, server):
    server.ranges, server.breaks = False, [900_000]
    assert fetch().read_bytes() == DATA
    assert server.asked == [None, 900_000]


def test_a_busy_server_is_asked_again(fetch, server):
    server.errors = [503, 429]
    assert fetch().read_bytes() == DATA


def test_what_was_there_may_be_wrong(fetch, server, tmp_path):
    part = tmp_path / "downloads" / "file.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(b"something else")
    with pytest.raises(UserError, match="another SHA-256") as raised:
        fetch()
    assert not part.with_suffix("").exists() and SHA in str(raised.value)
    assert fetch().read_bytes() == DATA  # started again, not resumed


def test_errors_are_told(fetch, server, tmp_path):
    server.errors = [404]
    with pytest.raises(UserError, match=r"cannot download http://.*HTTP 404"):
        fetch()
    with pytest.raises(UserError, match="3 MB long, expected 2 MB"):
        fetch(size=2_000_000)
    server.breaks = [1_000_000] * 9
    with pytest.raises(UserError, match="1 MB of 3 MB were downloaded; the next call"):
        fetch(retries=2)
    server.breaks = []
    assert fetch().read_bytes() == DATA


def test_nobody_there(tmp_path, server):
    url = "http://127.0.0.1:9/x"
    with pytest.raises(UserError, match="cannot download .*refused"):
        download.fetch(url, tmp_path / "x", 10, SHA, retries=1)


def test_a_full_disk_is_told_before(fetch, server, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"needs 3 MB more in .* has 1 kB free"):
        fetch()
    assert server.asked == []


def test_two_processes_do_not_write_one_file(fetch, tmp_path):
    part = tmp_path / "downloads" / "file.tar.gz.part"
    part.parent.mkdir()
    with open(part, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is downloading"):
            fetch()
