"""Whether the files that Keras publishes can be reached, found out within seconds.

Keras downloads without a time limit: on a machine without a network, or behind a
firewall that drops packets, it would wait for minutes.
"""

import threading
import urllib.error
import urllib.request

from hiercam_keras.errors import UserError

HOST = "https://storage.googleapis.com/"
PATIENCE = 6.0  # seconds, the lookup of the name included


def check_connection(flag: str, cached: bool, alternatives: str) -> None:
    """Raises UserError if the host of Keras' weights cannot be reached.

    Args:
      flag: what asked for the weights, as the user wrote it.
      cached: the file is in Keras' cache, so nothing needs to be reached.
      alternatives: a sentence with what can be used instead.
    """
    reason = None if cached else _unreachable()
    if reason is not None:
        raise UserError(
            f"{flag}: the weights are not in Keras' cache, and {HOST} cannot be "
            f"reached ({reason}). {alternatives}"
        )


def _unreachable() -> str | None:
    """Why the host does not answer, None if it does; proxies are respected."""
    answers: list[str | None] = []

    def ask() -> None:
        request = urllib.request.Request(HOST, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            answers.append(None)  # an answer, though the address has no page
        except (OSError, ValueError) as error:
            answers.append(str(getattr(error, "reason", error)))
        else:
            answers.append(None)

    # The lookup of a name has no time limit of its own; the thread ends by itself.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answers[0] if answers else f"no answer in {PATIENCE:.0f} s"
