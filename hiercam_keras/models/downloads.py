"""Whether a file that Keras would download can be reached, found out within seconds.

Keras downloads without a time limit: on a machine without a network, or behind a
firewall that drops packets, it would wait for minutes.
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

HOST = "https://storage.googleapis.com/"  # of all weights of keras.applications
PATIENCE = 6.0  # seconds, the lookup of the name included
STALLED = 10.0  # seconds without a byte, after which a download has failed


def cached_files() -> list[pathlib.Path]:
    """The files of weights that Keras has downloaded on this machine."""
    homes = (os.environ.get("KERAS_HOME", "~/.keras"), "/tmp/.keras")
    folders = [pathlib.Path(home).expanduser() / "models" for home in homes]
    return [file for folder in folders for file in folder.glob("*.h5")]


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """In the block a connection that is silent for STALLED seconds is an OSError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def check_connection(url: str, flag: str, alternatives: str) -> None:
    """Raises UserError within PATIENCE if the host of a URL does not answer.

    Args:
      url: of what will be downloaded; one without a host, such as file:, is not asked.
      flag: what asked for the download, as the user wrote it.
      alternatives: a sentence with what can be used instead.
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
    """Why the host does not answer, None if it does; proxies are respected."""
    reasons: list[str | None] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            reasons.append(None)  # an answer; the download says what is wrong
        except Exception as error:  # whatever a proxy or a firewall answers
            reasons.append(str(getattr(error, "reason", error)))
        else:
            reasons.append(None)

    # The lookup of a name has no time limit of its own; the thread ends by itself.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return reasons[0] if reasons else f"no answer in {PATIENCE:.0f} s"
