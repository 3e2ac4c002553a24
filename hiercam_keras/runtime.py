"""Setup of the process: memory, backend, seeds, dtype policy, devices and logging.

Call `prepare_process` before importing keras, jax or tensorflow, and `start` once the
config is known.
"""

import contextlib
import gc
import logging as python_logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from hiercam_keras import (
    cache_folder,
    lazy_tensorflow,
    malloc,
    processor,
    wording,
)
from hiercam_keras.errors import UserError

# Names that `versions` reports, and the distributions that provide the package.
_VERSIONS = {
    "keras": ("keras",),
    "keras-hub": ("keras-hub",),
    "jax": ("jax",),
    "jaxlib": ("jaxlib",),
    "jax-cuda12-plugin": ("jax-cuda12-plugin",),
    "jax-cuda13-plugin": ("jax-cuda13-plugin",),
    "libtpu": ("libtpu",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "tensorflow-datasets": ("tensorflow-datasets",),
    "jax2onnx": ("jax2onnx",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime",),
    "orbax-checkpoint": ("orbax-checkpoint",),
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "pillow": ("pillow",),
    "opencv": ("opencv-python-headless", "opencv-python"),
    "matplotlib": ("matplotlib",),
}


def prepare_process() -> None:
    """Sets environment variables that libraries read at import, and limits logging."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["KERAS_NNX_ENABLED"] = "false"
    if cache_folder.home() is None:  # TensorFlow would create a folder named "~"
        place = cache_folder.user_cache() or Path(tempfile.gettempdir())
        os.environ.setdefault("KERAS_HOME", str(place / ".keras"))
        # matplotlib 3.10, which Keras imports, needs a home folder.
        os.environ.setdefault("MPLCONFIGDIR", str(place / "matplotlib"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("MPLBACKEND", "agg")
    flag = "--xla_cpu_prefer_vector_width=512"
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_prefer_vector_width" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
    _plain_log_lines()
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
        # With these `fit` runs fewer steps than the log and the checkpoints count.
        if os.environ.pop(name, None) is not None:
            logging.warning("%s is set and has no effect on this program", name)
    for name in ("jax", "tensorflow", "matplotlib", "h5py", "PIL"):
        python_logging.getLogger(name).setLevel(python_logging.ERROR)
    logging.get_absl_logger().addFilter(_not_orbax_chatter)
    for module in ("tensorflow", "keras", "jax", "google", "flatbuffers", "orbax"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """A context for the imports of a program: without the garbage collector.

    They make a million objects that stay. The collector would examine them again and
    again, here and in all later collections, which ignore them after this context.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _not_orbax_chatter(record: python_logging.LogRecord) -> bool:
    """Filters out Orbax's log of each save; its failures are raised as exceptions."""
    return "orbax" not in record.pathname


def _plain_log_lines() -> None:
    """Formats log lines as the message alone; warnings and errors have their level."""

    class Plain(python_logging.Formatter):
        def format(self, record):
            level = "" if record.levelno < 30 else record.levelname.lower() + ": "
            return level + record.getMessage()

    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(Plain())
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)


def set_keras_defaults() -> None:
    """Overrides settings of ~/.keras/keras.json that affect results.

    With channels_first a network would interpret the rows of an image as channels.
    `prepare_process` overrides the backend and nnx_enabled.
    """
    import keras

    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)


def start(
    seed: int, dtype: str = "float32", devices: int = 0, alone: bool = False
) -> None:
    """Seeds Keras, sets dtype policy and devices, and enables the compilation cache.

    Args:
      seed: for weights and dropout; the seed of batches is in the config.
      dtype: a Keras dtype policy, "float32" or "mixed_bfloat16".
      devices: number of local devices that share each batch; 0 for all of them.
      alone: whether each of several processes has its own batches.

    Raises:
      UserError: there are fewer local devices.
    """
    import jax
    import keras

    compute_in_calling_thread()
    cache = cache_folder.user_cache()
    if cache and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    set_keras_defaults()
    set_seed(seed)
    keras.config.set_dtype_policy(dtype)
    _share_batches(devices, alone)
    if dtype == "mixed_bfloat16" and jax.default_backend() == "cpu":
        _warn_of_slow_bfloat16()


def _warn_of_slow_bfloat16() -> None:
    """Logs what mixed_bfloat16 is worth on a processor without fast products of it."""
    if not processor.has_bfloat16():
        logging.info(
            "this processor is not known to have instructions for bfloat16: results of "
            "mixed_bfloat16 are right, but it is probably slower than float32"
        )
    elif not processor.multiplies_bfloat16_fast():
        logging.info(
            "bfloat16 is multiplied no faster than float32 here (Intel's processors "
            "need AMX and jaxlib 0.11.2 for that): mixed_bfloat16 trains a little "
            "faster with large batches, "
            "and answers no faster"
        )


def set_seed(seed: int) -> None:
    """Does what `keras.utils.set_random_seed` does, but does not import TensorFlow.

    Keras imports TensorFlow to seed it, which takes seconds. Nothing in this package
    draws with TensorFlow. It is seeded if it is imported already, as by code of a user.
    """
    import keras

    with lazy_tensorflow.not_asked_for():
        keras.utils.set_random_seed(seed)


def fast_memory() -> str:
    """Makes JAX on a CPU faster by settings of malloc, for the whole process.

    Call it once, in the main thread and before the first array of JAX. Memory that was
    used stays with the process then. Nothing is changed without glibc (macOS, Windows,
    musl), under another allocator, with less than 20 GB of memory, and where
    GLIBC_TUNABLES or a variable MALLOC_... is set.

    It also disables JAX's asynchronous dispatch on the CPU: a function that is called
    with complete arrays then computes in the calling thread, and the settings are for
    the memory of the main thread. The functions of this package call programs that way;
    code of your own calls `jax.device_put` and `jax.block_until_ready` on large NumPy
    arrays first.

    Returns:
      A sentence that says what was done, or why nothing was done.

    Raises:
      UserError: JAX has started its threads already, or this is not the main thread:
        the settings would have no effect.
    """
    if not malloc.is_kept() and malloc.obstacle() is None:
        _check_time()
    said = malloc.keep_memory()
    compute_in_calling_thread()
    return said


def _check_time() -> None:
    """Raises UserError where the settings would have no effect any more."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None and bridge.backends_are_initialized():
        raise UserError(
            "fast_memory was called after JAX had started its threads, which its "
            "settings do not reach. Call it directly after the imports; in a notebook "
            "restart the kernel."
        )
    if threading.current_thread() is not threading.main_thread():
        raise UserError(
            "fast_memory was called in a thread, and its settings are for memory of "
            "the main thread. Call it there."
        )


def compute_in_calling_thread() -> None:
    """Disables JAX's asynchronous dispatch on a CPU, if malloc keeps freed memory.

    Otherwise a program may start, and allocate its temporary arrays, before another
    thread has freed those of the program before it, which then takes their memory
    twice. It has no effect after the first array of JAX. See `malloc.complete`.
    """
    if malloc.is_kept():
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)


def _share_batches(wanted: int, alone: bool) -> None:
    """Sets data parallelism over local devices, or over those of all processes."""
    import jax
    import keras

    here = jax.local_device_count()
    devices = jax.local_devices() if alone else jax.devices()
    names = [f"{device.platform}:{device.id}" for device in devices]
    if not 0 <= wanted <= here:
        raise UserError(
            f"config.distribution.devices is {wanted}, but this machine has {here}. "
            "Use 0 for all of them."
        )
    if wanted and len(names) == here:
        names = names[:wanted]
    if len(names) > 1:
        logging.info("%d devices share each batch", len(names))
        distribution = keras.distribution.DataParallel(
            devices=names, auto_shard_dataset=False
        )
        keras.distribution.set_distribution(distribution)
    elif keras.distribution.distribution() is not None:
        keras.distribution.set_distribution(None)


def training_batch(size: int, most: int) -> int:
    """Adjusts a batch size to the devices and the data; logs a change.

    Args:
      size: requested number of images over all devices.
      most: number of images in the training split.

    Returns:
      `size` rounded up to a multiple of the number of devices; if this exceeds `most`,
      the largest multiple that does not.

    Raises:
      UserError: there are fewer images than devices.
    """
    devices = _num_sharing()
    shared = -(-size // devices) * devices
    if shared > most:
        shared = most // devices * devices
    if not shared:
        raise UserError(
            f"{wording.count(devices, 'device')} cannot share "
            f"{wording.count(most, 'image')}. Use fewer with "
            "--config.distribution.devices."
        )
    if shared != size:
        why = [f"the training split has {most} images"] if size > most else []
        if devices > 1:
            why.append(f"a multiple of the {devices} devices")
        logging.info("data.batch_size %d becomes %d: %s", size, shared, ", ".join(why))
    return shared


def resumed_batch(size: int) -> int:
    """Checks that a resumed run can keep its batch size, and returns it.

    The batch size must not change, because checkpoints count steps.

    Args:
      size: number of images over all devices.

    Raises:
      UserError: it is no multiple of the devices; the message lists possible numbers.
    """
    devices = _num_sharing()
    if size % devices:
        fit = [str(n) for n in range(1, devices) if size % n == 0]
        raise UserError(
            f"the run was begun with batches of {wording.count(size, 'image')}, which "
            f"{wording.count(devices, 'device')} cannot share evenly. Go on "
            f"with --config.distribution.devices={fit[-1]} "
            f"(or {', '.join(fit[:-1]) or 'another machine'}), or start over with "
            "--overwrite."
        )
    return size


def _num_sharing() -> int:
    """Number of devices that share each batch."""
    import keras

    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.device_mesh.devices.size


def versions() -> dict[str, str]:
    """Versions of packages that results depend on, and the platform.

    They are read from package metadata, without importing packages or accessing
    devices. Packages that are not installed are omitted.
    """
    import platform
    from importlib import metadata

    from hiercam_keras import __version__

    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name, distributions in _VERSIONS.items():
        for distribution in distributions:
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(distribution)
                break
    return {**found, "hiercam_keras": __version__}


def device_name() -> str:
    """JAX's device: "CPU", or number and kind of accelerators, as "1 x NVIDIA H200"."""
    import jax

    devices = jax.devices()
    if devices[0].platform == "cpu":
        return "CPU"
    return f"{len(devices)} x {devices[0].device_kind}"
