"""Code that runs in a process of its own, as settings hold for a whole process."""

import json
import os
import subprocess
import sys

_OF_THE_USER = ("GLIBC_TUNABLES", "MALLOC_", "JAX_")


def result(code, **environment):
    """The JSON that a process of `code` prints last; the user's settings left out."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(_OF_THE_USER)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**clean, "JAX_PLATFORMS": "cpu", **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
