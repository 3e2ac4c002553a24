"""Benchmarks: PyTorch, eager, channels last; Grad-CAM by a hook."""

from collections.abc import Callable

from benchmarks.case import NUM_TARGETS, Case
from benchmarks.peers import torch_common
from benchmarks.peers.torch_common import device_memory, versions  # noqa: F401

LABEL = "PyTorch, eager"
TASKS = ("train", "forward", "cam1", "cam7")


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`."""
    if task == "train":
        return torch_common.train(case, compiled=False)
    if task == "forward":
        return torch_common.forward(case, compiled=False)
    return torch_common.hooked_cam(case, 1 if task == "cam1" else NUM_TARGETS)
