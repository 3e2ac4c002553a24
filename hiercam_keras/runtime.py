"""The process: launch settings, backend, seeds, dtype policy, and quiet libraries.

`prepare_process` comes before keras, jax or tensorflow are imported, `start` after the
config is known.
"""

import contextlib
import logging as python_logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

from absl import logging

from hiercam_keras import cache_folder, wording
from hiercam_keras.errors import UserError

_HUGE_PAGES = "glibc.malloc.hugetlb=1"
# One heap that large arrays come from, too, and that is never given back.
_KEEP_MEMORY = (
    "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:"
    f"glibc.malloc.trim_threshold={2**40}:glibc.malloc.top_pad={2**26}"
)
_ROOMY = 20 * 10**9  # bytes of memory from which on a process may keep what it freed
_RELAUNCHED = "HIERCAM_RELAUNCHED"
# What `versions` calls a package, and the distributions that it may come from.
_VERSIONS = {
    "keras": ("keras",),
    "jax": ("jax",),
    "jaxlib": ("jaxlib",),
    "jax-cuda12-plugin": ("jax-cuda12-plugin",),
    "jax-cuda13-plugin": ("jax-cuda13-plugin",),
    "libtpu": ("libtpu",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "tensorflow-datasets": ("tensorflow-datasets",),
    "orbax-checkpoint": ("orbax-checkpoint",),
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "pillow": ("pillow",),
    "opencv": ("opencv-python-headless", "opencv-python"),
    "matplotlib": ("matplotlib",),
}
_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# What a container may have, in its second and in its first form.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def malloc_settings() -> str:
    """What GLIBC_TUNABLES should be on this machine, "" for as it is.

    XLA on a CPU asks for gigabytes at each step and gives them back after it. By itself
    malloc maps and unmaps them, and the kernel clears every page anew, at each step.
    Huge pages are asked for where the kernel gives them on demand (`madvise`). Freed
    memory is kept on machines with 20 GB or more only: pieces of it lie between what is
    in use, and a training may hold twice as much as it needs. docs/PERFORMANCE.md tells
    what both give.
    """
    settings = []
    try:
        if "[madvise]" in _THP.read_text():
            settings.append(_HUGE_PAGES)
    except OSError:
        pass
    if _memory() >= _ROOMY:
        settings.append(_KEEP_MEMORY)
    return ":".join(settings)


def _memory() -> int:
    """Bytes that this process may have: those of the machine, or of its container."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _LIMITS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(found)


def relaunch_with_fast_malloc() -> None:
    """Starts this process over, once, with `malloc_settings`.

    glibc reads its tunables only at the start of a process. Does nothing where it would
    not help or where somebody decided already: off Linux, with GLIBC_TUNABLES or
    HIERCAM_RELAUNCHED set, or where the process runs no file (main.py, the __main__.py
    of `python -m`, the script `hiercam`) that its command would run again.
    """
    if not sys.platform.startswith("linux") or not os.path.isfile(sys.argv[0]):
        return
    if "GLIBC_TUNABLES" in os.environ or _RELAUNCHED in os.environ:
        return
    settings = malloc_settings()
    if not settings:
        return
    environment = {**os.environ, "GLIBC_TUNABLES": settings, _RELAUNCHED: "1"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def prepare_process() -> None:
    """Sets what the libraries read when they are imported, and quiets their chatter."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["KERAS_NNX_ENABLED"] = "false"
    if cache_folder.home() is None:  # TensorFlow would make a folder with the name "~"
        place = cache_folder.user_cache() or Path(tempfile.gettempdir())
        os.environ.setdefault("KERAS_HOME", str(place / ".keras"))
        # matplotlib 3.10 looks for a home when Keras imports it.
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
        # `fit` would do fewer steps than the log and the checkpoints count.
        if os.environ.pop(name, None) is not None:
            logging.warning("%s is set and has no effect on this program", name)
    for name in ("jax", "tensorflow", "matplotlib", "h5py", "PIL"):
        python_logging.getLogger(name).setLevel(python_logging.ERROR)
    logging.get_absl_logger().addFilter(_not_orbax_chatter)
    for module in ("tensorflow", "keras", "jax", "google", "flatbuffers", "orbax"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")


def _not_orbax_chatter(record: python_logging.LogRecord) -> bool:
    """Orbax tells each step of a save; what fails is raised besides."""
    return "orbax" not in record.pathname


def _plain_log_lines() -> None:
    """A person reads these lines: the message, and its level when it is a warning."""

    class Plain(python_logging.Formatter):
        def format(self, record):
            level = "" if record.levelno < 30 else record.levelname.lower() + ": "
            return level + record.getMessage()

    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(Plain())
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)


def set_keras_defaults() -> None:
    """Sets what ~/.keras/keras.json may have otherwise, as results depend on it.

    With channels_first a network would take the rows of an image for its channels. The
    file's backend and nnx_enabled are set by `prepare_process`.
    """
    import keras

    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)


def start(
    seed: int, dtype: str = "float32", devices: int = 0, alone: bool = False
) -> None:
    """Seeds Keras, sets its dtype policy and its devices, and caches compilations.

    Args:
      seed: for weights and dropout; batches take theirs from the config.
      dtype: a Keras dtype policy, "float32" or "mixed_bfloat16".
      devices: local devices that share each batch; 0 for all of them.
      alone: where there are several processes, each has batches of its own.

    Raises:
      UserError: there are fewer devices.
    """
    import jax
    import keras

    cache = cache_folder.user_cache()
    if cache and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    set_keras_defaults()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(dtype)
    _share_batches(devices, alone)


def _share_batches(wanted: int, alone: bool) -> None:
    """Data parallelism over the local devices, and over those of all processes."""
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
    """The batch size that fits; logs it if it is another than was asked for.

    Args:
      size: asked for, images of all devices together.
      most: images of the training split.

    Returns:
      The next multiple of the number of devices, as all share a batch evenly; where
      that is more than there are images, the largest multiple that is not.

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
    """The batch size that a run began with, which it keeps: a step stands for it.

    Args:
      size: images of all devices together.

    Raises:
      UserError: the devices cannot share it evenly; the message names counts that can.
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
    """Devices that share each batch."""
    import keras

    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.device_mesh.devices.size


def versions() -> dict[str, str]:
    """Versions of what a result depends on, and the machine's platform.

    They are read from the metadata of what is installed, so nothing is imported and no
    device is asked. What is not installed is left out.
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
    """What JAX computes on: "CPU", or number and kind of the accelerators."""
    import jax

    devices = jax.devices()
    if devices[0].platform == "cpu":
        return "CPU"
    return f"{len(devices)} x {devices[0].device_kind}"
