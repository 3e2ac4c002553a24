"""Time limits for downloads through Keras.

Keras downloads without a timeout. Without a network, or behind a firewall that drops
packets, it would block for minutes.
"""

import contextlib
import os
import pathlib
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

from hiercam_keras.errors import UserError

HOST = "https://storage.googleapis.com/"  # serves all weights of keras.applications
PATIENCE = 4.0  # seconds to connect, DNS lookup included
STALLED = 10.0  # seconds without data before a download fails


def cached_files() -> list[pathlib.Path]:
    """Lists the .h5 weight files in Keras' cache folders."""
    homes = (os.environ.get("KERAS_HOME", "~/.keras"), "/tmp/.keras")
    folders = [pathlib.Path(home).expanduser() / "models" for home in homes]
    return [file for folder in folders for file in folder.glob("*.h5")]


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Context in which a connection without data for STALLED seconds raises OSError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def check_connection(url: str, flag: str, alternatives: str) -> None:
    """Raises UserError within PATIENCE seconds if the host of a URL does not answer.

    Args:
      url: of the download. A URL without a host, such as file:, is not checked.
      flag: the flag or setting that needs the download, for the message.
      alternatives: a sentence that names alternatives, for the message.
    """
    if not urllib.parse.urlsplit(url).netloc:
        return
    reason = _unreachable(url)
    if reason is not None:
        raise UserError(
            f"{flag}: the weights are not in Keras' cache, and "
            f"{urllib.parse.urlsplit(url).netloc} cannot be reached ({reason}). "
            f"{alternatives}"
        )


def _unreachable(url: str) -> str | None:
    """Reason why the host is unreachable; None if it answers. Uses proxy settings."""
    reasons: list[str | None] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            reasons.append(None)  # reachable; the download reports the HTTP error
        except Exception as error:  # proxies and firewalls answer in many ways
            reasons.append(str(getattr(error, "reason", error)))
        else:
            reasons.append(None)

    # DNS lookups have no timeout; the daemon thread ends by itself.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return reasons[0] if reasons else f"no answer in {PATIENCE:.0f} s"
