"""A process that compiles programs for one device, as its parent asks.

It reads from stdin the length of a pickle as 8 bytes, the pickle (a `Recipe` and a
`Device`), and then a line of JSON for each program: {"program": "train",
"batch": 256}. It answers with lines of JSON on stdout: {"event": "compiling"}, perhaps
{"event": "warning", "message": "..."}, then {"event": "done", "result": {...}} or
{"event": "failed", "message": "..."}. It ends when stdin does, in the middle of a
compilation, too, so that it never outlives its parent.

The compiler's output is kept in the cache, so that figures can be counted from it
again: NAME.json has the figures of JAX, NAME.hlo.gz the program's text.
"""

import gzip
import hashlib
import json
import os
import pickle
import queue
import sys
import threading
import time
import zlib
from typing import Any

from hiercam_keras import cache_folder, runtime, signals, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.plan import figures, topology
from hiercam_keras.plan.devices import Device

_FORMAT = 1  # of the files in the cache


def main() -> None:
    """Answers until stdin ends."""
    signals.leave_to_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    runtime.prepare_process()
    size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    recipe, device = pickle.loads(sys.stdin.buffer.read(size))
    asked: queue.SimpleQueue[dict] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(asked,), daemon=True).start()

    def answer(event: str, **fields: Any) -> None:
        answers.write(json.dumps({"event": event, **fields}) + "\n")

    try:
        compiler = _Compiler(recipe, device)
        answer("ready")
        while True:
            request = asked.get()
            answer("done", result=compiler(**request, say=answer).to_json())
    except UserError as error:
        answer("failed", message=str(error))


def _read(asked: queue.SimpleQueue) -> None:
    for line in sys.stdin.buffer:
        asked.put(json.loads(line))
    os._exit(1)  # the parent has ended, or wants no more


class _Compiler:
    """Compiles the programs of a recipe for a device."""

    def __init__(self, recipe: Any, device: Device):
        from ml_collections import ConfigDict

        from hiercam_keras.plan.programs import Programs

        self.device = device
        config = ConfigDict(dict(recipe.config))
        runtime.start(config.seed, config.model.dtype, devices=1)
        modules = config.model.get("modules", ())
        if modules:
            from hiercam_keras.models import user_code

            user_code.use_modules(modules)
        self.mesh = topology.mesh(self.device)
        self.programs = Programs(recipe, self.mesh, self.device.chip.family)
        cache = cache_folder.user_cache()
        self.cache = None if cache is None else cache / "plan"

    def __call__(self, program: str, batch: int, say: Any) -> figures.Compiled:
        found = self.programs.lower(program, batch)
        key = self._key(found.lowered.as_text())
        known = self._cached(key)
        if known is None:
            say("compiling", key=key)
            known = self._compile(found.lowered)
            if problem := self._keep(key, *known):
                say("warning", message=f"{program} is not kept: {problem}")
        else:
            say("cached", key=key)
        given, text = known
        counted = {} if given.get("refused") else figures.of_text(text)
        return figures.Compiled(
            program=program,
            batch=batch,
            devices=self.device.count,
            key=key,
            sizes=found.sizes,
            **given,
            **counted,
        )

    def _key(self, text: str) -> str:
        described = {
            "format": _FORMAT,
            "device": topology.description(self.device),
            "versions": topology.versions(),
            "flags": os.environ.get("XLA_FLAGS", ""),
        }
        parts = json.dumps(described, sort_keys=True), text
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]

    def _cached(self, key: str) -> tuple[dict, str] | None:
        """What is in the cache; None if it is missing or damaged."""
        if self.cache is None:
            return None
        try:
            given = workdir.read_json(self.cache / f"{key}.json")
            if not isinstance(given, dict):
                return None
            if given.get("refused"):
                return given, ""
            with gzip.open(self.cache / f"{key}.hlo.gz", "rt") as file:
                text = file.read()
            return (given, text) if text else None  # gzip reads an empty file as ""
        except (OSError, ValueError, EOFError, zlib.error):
            return None

    def _compile(self, lowered: Any) -> tuple[dict, str]:
        start, processor = time.monotonic(), time.process_time()
        try:
            compiled = lowered.compile()
        except Exception as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            given, text = figures.of_refusal(str(error)), ""
        else:
            given, text = _given(compiled), compiled.as_text()
        given["seconds"] = round(time.monotonic() - start, 1)
        given["processor"] = round(time.process_time() - processor, 1)
        return given, text

    def _keep(self, key: str, given: dict, text: str) -> str:
        """Writes to the cache; returns the reason if this fails, else ""."""
        if self.cache is None:
            return (
                "there is no cache folder that can be written. Set XDG_CACHE_HOME to "
                "one."
            )
        packed = gzip.compress(text.encode(), 6)
        flag = "XDG_CACHE_HOME"
        try:
            workdir.write_bytes(self.cache / f"{key}.hlo.gz", packed, flag)
            # Last: both are there.
            workdir.write_json(self.cache / f"{key}.json", given, flag)
        except UserError as error:
            return str(error)
        return ""


def _given(compiled: Any) -> dict:
    """The compiler's own figures."""
    cost = compiled.cost_analysis() or {}
    cost = cost[0] if isinstance(cost, list | tuple) else cost
    return {
        "memory": figures.of_memory(compiled.memory_analysis()),
        "flops": float(cost.get("flops", 0.0)),
        "accessed": float(cost.get("bytes accessed", 0.0)),
    }


if __name__ == "__main__":
    main()
