"""Benchmarks: pytorch-grad-cam (package grad-cam) on EfficientNet-B0 in PyTorch."""

import sys
import types
from collections.abc import Callable

from benchmarks.case import NUM_TARGETS, Case, targets
from benchmarks.peers import packages, torch_common
from benchmarks.peers.torch_common import device_memory  # noqa: F401

LABEL = "pytorch-grad-cam"
TASKS = ("cam1", "cam7")


def _stand_in_for_torchvision() -> None:
    """Lets pytorch_grad_cam be imported where no torchvision fits this PyTorch.

    It imports a few transforms for helpers that are not used here.
    """
    names = ("", ".transforms", ".transforms.functional")
    parts = {name: types.ModuleType(f"torchvision{name}") for name in names}
    transforms = parts[".transforms"]
    parts[""].transforms = transforms
    transforms.functional = parts[".transforms.functional"]
    transforms.functional.resize = None
    transforms.Compose = transforms.Normalize = transforms.ToTensor = None
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules.update({f"torchvision{name}": part for name, part in parts.items()})


def _import():
    try:
        import torchvision.transforms  # noqa: F401
    except (ImportError, RuntimeError):  # the latter: built for another PyTorch
        _stand_in_for_torchvision()
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    return pytorch_grad_cam, ClassifierOutputTarget


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`. Several targets are several calls: it takes one each."""
    model, layer, _ = torch_common.model_of(case)
    library, target_class = _import()
    explain = library.GradCAM(model=model.eval(), target_layers=[layer])
    batch = torch_common.load(case)
    asked = targets(case, 1 if task == "cam1" else NUM_TARGETS).T
    wanted = [[target_class(int(label)) for label in row] for row in asked]

    def run(calls: int) -> None:
        for _ in range(calls):
            with torch_common.autocast(case):
                pictures = batch()
                for row in wanted:
                    explain(input_tensor=pictures, targets=row)

    return run


def versions() -> dict[str, str]:
    """Versions of what counts here."""
    return {**torch_common.versions(), **packages.versions("grad-cam")}
