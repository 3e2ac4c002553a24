"""Benchmarks: what is measured (a case), on which batches, under which settings."""

import dataclasses
import os
import sys

import numpy as np

NUM_LABELS = 1000
NUM_TARGETS = 7
LEARNING_RATE = 1e-3

TASKS = {
    "train": "train step",
    "forward": "forward pass",
    "cam1": "Grad-CAM, 1 target",
    "cam7": "Grad-CAM, 7 targets",
    "maps1": "raw maps, 1 target",
    "maps7": "raw maps, 7 targets",
    "maps7ranks": "raw maps, 7 ranks",
    "legrad1": "LeGrad, raw maps, 1 target",
}
# Blocks, heads and width of a vision transformer with patches of 16 px; Dosovitskiy et
# al. 2021, arXiv:2010.11929, table 1, and one for tests.
VITS = {"base": (12, 12, 768), "tiny": (3, 2, 32)}
PATCH = 16
_MALLOC = "BENCHMARKS_MALLOC"  # whether `set_malloc` has an effect
# No worker may get these from the shell that starts the benchmark.
_SETTINGS = ("GLIBC_TUNABLES", "XLA_FLAGS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class Case:
    """One batch shape, and how every peer has to work on it.

    Attributes:
      size: height and width of the images in pixels.
      batch: images in a batch.
      dtype: "float32", or "bfloat16" for mixed precision.
      device: "cpu" or "gpu".
      fast_layers: of ours only, see `xla_layers.accelerate`.
      torch_model: of the PyTorch peers only, see `peers.torch_model`.
      vit: of the peers of `benchmarks.vit` only, a name in VITS.
    """

    size: int = 224
    batch: int = 16
    dtype: str = "float32"
    device: str = "cpu"
    fast_layers: str = "auto"
    torch_model: str = "auto"
    vit: str = "base"

    @property
    def name(self) -> str:
        """As in tables: "224 px, batch 16"."""
        return f"{self.size} px, batch {self.batch}"


def images(case: Case) -> np.ndarray:
    """Random pictures, uint8 (B, S, S, 3), the same for every peer."""
    shape = (case.batch, case.size, case.size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def labels(case: Case) -> np.ndarray:
    """Random labels, int32 (B,), the same for every peer."""
    drawn = np.random.default_rng(1).integers(0, NUM_LABELS, case.batch)
    return drawn.astype(np.int32)


def targets(case: Case, count: int) -> np.ndarray:
    """Labels that maps are asked for, int32 (B, count), the same for every peer."""
    drawn = np.random.default_rng(2).integers(0, NUM_LABELS, (case.batch, count))
    return drawn.astype(np.int32)


def launch_settings(device: str) -> dict[str, str]:
    """Environment variables that every worker gets, whoever the peer is."""
    cores = str(len(os.sched_getaffinity(0)))
    settings = {
        "OMP_NUM_THREADS": cores,
        "MKL_NUM_THREADS": cores,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no helpers that stay behind
    }
    if device == "cpu":
        settings["XLA_FLAGS"] = "--xla_cpu_prefer_vector_width=512"
        settings["JAX_PLATFORMS"] = "cpu"
        settings["CUDA_VISIBLE_DEVICES"] = ""
    else:  # stopped peers would hold the memory that the others need
        settings["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    settings[_MALLOC] = "fast"
    settings["THP_MEM_ALLOC_ENABLE"] = "1"  # huge pages of PyTorch's own allocator
    return settings


def environment(device: str, cache: str) -> dict[str, str]:
    """The whole environment of a worker; compiled programs go to folder `cache`."""
    base = {key: value for key, value in os.environ.items() if key not in _SETTINGS}
    return {
        **base,
        **launch_settings(device),
        "JAX_COMPILATION_CACHE_DIR": os.path.join(cache, "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "TORCHINDUCTOR_CACHE_DIR": os.path.join(cache, "inductor"),
    }


def set_malloc() -> None:
    """Makes this project's settings of malloc, in a process with its environment.

    Every peer gets them. Without `launch_settings`, as in `ablation`, nothing happens.
    """
    if _MALLOC in os.environ:
        from hiercam_keras import malloc  # needs the standard library alone

        malloc.keep_memory()


def launch(module: str, cache: str) -> None:
    """Starts `python -m module` over, once, with the environment of a CPU worker.

    Some variables are read at imports that the module has made already.
    """
    if os.environ.get("BENCHMARKS_LAUNCHED") != module:
        settings = environment("cpu", cache) | {"BENCHMARKS_LAUNCHED": module}
        command = [sys.executable, "-m", module, *sys.argv[1:]]
        os.execve(sys.executable, command, settings)
    set_malloc()
