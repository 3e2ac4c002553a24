"""Measures the memory of one train step in a process of its own; Linux.

    python -m measured_step CONFIG_JSON     (fields by dotted path, and "batch")

Prints JSON: what the plan says of the step, and what its run took.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

from hiercam_keras import config_files, runtime


def main() -> None:
    runtime.prepare_process()
    fields = json.loads(sys.argv[1])
    batch, labels = fields.pop("batch"), fields.pop("labels")
    config = config_files.load("default")
    config.update_from_flattened_dict(fields)
    runtime.start(0, config.model.dtype)
    import jax
    import numpy as np

    from hiercam_keras.plan import figures, topology
    from hiercam_keras.plan.devices import device
    from hiercam_keras.plan.programs import Programs
    from hiercam_keras.plan.recipe import Recipe

    recipe = Recipe(config.to_dict(), {"species": labels}, None, {})
    programs = Programs(recipe, topology.mesh(device("cpu")), "cpu")
    lowered = programs.lower("train", batch)
    compiled = lowered.lowered.compile()
    found = figures.Compiled(
        *("train", batch, 1),
        sizes=lowered.sizes,
        memory=figures.of_memory(compiled.memory_analysis()),
    )
    cost = compiled.cost_analysis()
    arguments = jax.tree.map(
        lambda one: jax.device_put(np.zeros(one.shape, one.dtype), one.sharding),
        lowered.arguments,
    )
    given = sum(one.nbytes for one in jax.tree.leaves(arguments))
    del programs, lowered
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else the step takes what others have freed
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _kilobytes("VmRSS")
    jax.block_until_ready(compiled(*arguments))
    grown = 1024 * (_kilobytes("VmHWM") - before)
    said = {"plan": found.total, "measured": given + grown, "arguments": given}
    counted = figures.of_text(compiled.as_text())
    said |= {"accessed": cost["bytes accessed"], "moved": counted["moved"]}
    print(json.dumps(said))


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1])


if __name__ == "__main__":
    main()
