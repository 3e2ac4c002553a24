"""Devices that are described to the compiler, and do not exist on this machine."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from hiercam_keras import image_by_image
from hiercam_keras.errors import UserError
from hiercam_keras.plan.devices import Device, target_config

BATCH = "batch"  # the axis of the mesh, which Keras' DataParallel has, too
EXTRAS = {"tpu": "plan-tpu", "gpu": "plan-gpu"}
# Packages with the compilers, by family. libtpu's wheel holds its library alone.
_PACKAGES = {"tpu": ("libtpu",), "gpu": ("jax_cuda12_plugin", "jax_cuda13_plugin")}
OLDEST_JAX = (0, 10)  # earlier releases were not tried


def check(device: Device) -> None:
    """Checks that this installation can compile for a device, without importing JAX.

    Raises:
      UserError: a package is missing, or JAX is too old.
    """
    version = metadata.version("jax")
    if device.chip.family != "cpu":
        if tuple(map(int, version.split(".")[:2])) < OLDEST_JAX:
            oldest = ".".join(map(str, OLDEST_JAX))
            raise UserError(
                f"--device={device.name} needs JAX {oldest} or newer to describe "
                f"devices to the compiler, found {version}: pip install -U jax."
            )
        packages = _PACKAGES[device.chip.family]
        if not any(map(importlib.util.find_spec, packages)):
            raise UserError(
                f"--device={device.name} needs the compiler of the package "
                f"{packages[0].replace('_', '-')}, which is not installed: "
                f'pip install ".[{EXTRAS[device.chip.family]}]".'
            )


def environment(device: Device) -> dict[str, str]:
    """Variables for a process that compiles for a device; they override its own.

    No accelerator of this machine is used, so the figures do not depend on it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    found = {"JAX_PLATFORMS": "cpu"}
    if device.chip.family == "tpu":
        # No server of a TPU machine is asked, and processes share no lock file.
        found |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
        found |= {"TPU_STDERR_LOG_LEVEL": "3", "TPU_MIN_LOG_LEVEL": "3"}
    if device.chip.family == "gpu":
        # Autotuning would run kernels on the card.
        flags = f"{flags} --xla_gpu_autotune_level=0".strip()
    return found | ({"XLA_FLAGS": flags} if flags else {})


def mesh(device: Device) -> Any:
    """A `jax.sharding.Mesh` of the described chips, with the axis BATCH.

    Raises:
      UserError: the compiler refuses the description.
    """
    import jax
    import numpy as np

    devices = jax.devices("cpu")[:1] if device.name == "cpu" else _described(device)
    return jax.sharding.Mesh(np.array(devices[: device.count]), (BATCH,))


def _described(device: Device) -> list:
    from jax.experimental import topologies

    try:
        if device.chip.family == "tpu":
            found = topologies.get_topology_desc(
                platform="tpu", topology_name=device.topology
            )
        else:
            found = topologies.get_topology_desc(
                platform="cuda",
                topology_name="",
                target_config=target_config(device.chip),
                topology=f"1x{device.count}x1" if device.count > 1 else "1x1x1",
            )
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"the compiler of --device={device.name} cannot be used: "
            f"{' '.join(str(error).split())[:300]}. Install the release that fits JAX: "
            f'pip install ".[{EXTRAS[device.chip.family]}]".'
        ) from error
    return list(found.devices)


@contextlib.contextmanager
def data_parallel(mesh: Any) -> Iterator[None]:
    """Keras' data parallelism over a mesh of described devices, while it traces.

    Layers and the forward pass read the active distribution, as in a run on these
    devices. A single device has none, as in a run. What is for CPUs alone is left out
    on others.
    """
    if mesh.devices.flat[0].platform == "cpu":
        shared = contextlib.nullcontext()
    else:
        shared = image_by_image.disabled()
    with shared, _distribution(mesh):
        yield


@contextlib.contextmanager
def _distribution(mesh: Any) -> Iterator[None]:
    import keras

    count = mesh.devices.size
    if count == 1:
        yield
        return
    names = [f"cpu:{i}" for i in range(count)]
    device_mesh = keras.distribution.DeviceMesh((count,), [BATCH], names)
    # The mesh of the described devices, in place of that of the names.
    device_mesh._backend_mesh = mesh
    distribution = keras.distribution.DataParallel(
        device_mesh=device_mesh, auto_shard_dataset=False
    )
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def description(device: Device) -> dict[str, Any]:
    """What the compiler is given of a device, for the key of a result."""
    chip = device.chip
    config = target_config(chip) if chip.family == "gpu" else ""
    return {
        "chip": chip.name,
        "count": device.count,
        "topology": device.topology,
        "target_config": config,
    }


def versions() -> dict[str, str]:
    """Versions of the packages that hold compilers."""
    names = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin")
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
