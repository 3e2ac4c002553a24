"""Benchmarks: PyTorch under torch.compile, channels last."""

from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.peers import torch_common
from benchmarks.peers.torch_common import device_memory, versions  # noqa: F401

LABEL = "PyTorch, compiled"
TASKS = ("train", "forward")


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`."""
    if task == "train":
        return torch_common.train(case, compiled=True)
    return torch_common.forward(case, compiled=True)
