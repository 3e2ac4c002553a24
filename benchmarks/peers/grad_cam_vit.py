"""Benchmarks: pytorch-grad-cam on timm's ViT, at what its last block is given."""

import sys
from collections.abc import Callable
from functools import cache

import torch

from benchmarks.case import NUM_LABELS, PATCH, VITS, Case, images, targets
from benchmarks.peers import packages
from benchmarks.peers.torch_common import device_memory  # noqa: F401

LABEL = "pytorch-grad-cam"
TASKS = ("forward", "cam1")


def _import():
    """timm, and pytorch-grad-cam's Grad-CAM and target.

    Both import torchvision. One that was built for another PyTorch lacks its own
    operators, and fails as it describes those; none of them is used here.
    """
    try:
        import torchvision
    except RuntimeError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            library.define(name + boxes)
        import torchvision  # noqa: F401

        _kept.append(library)
    import timm
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    return timm, GradCAM, ClassifierOutputTarget


_kept: list = []  # an operator is defined as long as its library is referred to


@cache
def _model(case: Case) -> torch.nn.Module:
    """Random weights; the numbers of keras-hub's ViT."""
    timm, *_ = _import()
    blocks, heads, width = VITS[case.vit]
    return timm.models.VisionTransformer(
        img_size=case.size,
        patch_size=PATCH,
        embed_dim=width,
        depth=blocks,
        num_heads=heads,
        num_classes=NUM_LABELS,
    ).eval()


def _batch(case: Case) -> torch.Tensor:
    """uint8 pictures from the host, scaled to -1 .. 1."""
    pixels = torch.from_numpy(images(case)).permute(0, 3, 1, 2)
    return pixels / 127.5 - 1.0


def _folded(tokens: torch.Tensor) -> torch.Tensor:
    """(B, 1 + h * w, C) -> (B, C, h, w), as pytorch-grad-cam's example for ViT does."""
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].reshape(len(tokens), side, side, -1).permute(0, 3, 1, 2)


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`."""
    model = _model(case)
    if task == "forward":

        def forward(calls: int) -> None:
            with torch.inference_mode():
                for _ in range(calls):
                    model(_batch(case)).numpy()

        return forward
    _, method, target = _import()
    # What the last block is given is what the one before it gives.
    explain = method(model, [model.blocks[-2]], reshape_transform=_folded)
    wanted = [target(int(label)) for label in targets(case, 1)[:, 0]]

    def run(calls: int) -> None:
        for _ in range(calls):
            explain(input_tensor=_batch(case), targets=wanted)

    return run


def versions() -> dict[str, str]:
    """Versions of what counts here."""
    return {"torch": torch.__version__} | packages.versions("timm", "grad-cam")
