"""Benchmarks: training and asking EfficientNet-B0 in PyTorch, channels last."""

from collections.abc import Callable
from functools import cache

import torch
from torch import nn

from benchmarks.case import LEARNING_RATE, Case, images, labels, targets
from benchmarks.peers import torch_model

# ImageNet's, in 0..255: the Keras model has its normalization inside, too.
_MEAN = (123.675, 116.28, 103.53)
_DEVIATION = (58.395, 57.12, 57.375)


def device(case: Case) -> torch.device:
    """Where a case is computed."""
    return torch.device("cuda" if case.device == "gpu" else "cpu")


@cache
def model_of(case: Case) -> tuple[nn.Module, nn.Module, str]:
    """As `torch_model.build`, on its device, channels last."""
    model, layer, source = torch_model.build(case.torch_model)
    model.to(device(case), memory_format=torch.channels_last)
    return model, layer, source


def autocast(case: Case):
    """Mixed precision where a case asks for it."""
    mixed = case.dtype == "bfloat16"
    return torch.autocast(device(case).type, torch.bfloat16, enabled=mixed)


def load(case: Case) -> Callable[[], torch.Tensor]:
    """uint8 pictures from the host -> normalized, channels last, on the device."""
    pixels = torch.from_numpy(images(case))
    mean = torch.tensor(_MEAN, device=device(case)).reshape(1, 3, 1, 1)
    deviation = torch.tensor(_DEVIATION, device=device(case)).reshape(1, 3, 1, 1)

    def batch() -> torch.Tensor:
        # A permuted (B, S, S, 3) array is channels last without a copy.
        pictures = pixels.to(device(case)).permute(0, 3, 1, 2)
        return (pictures - mean) / deviation

    return batch


def wait(case: Case) -> None:
    """Waits until the device has finished its queue."""
    if case.device == "gpu":
        torch.cuda.synchronize()


def train(case: Case, compiled: bool) -> Callable[[int], None]:
    """Forward, backward and Adam (the fused one)."""
    model = model_of(case)[0]
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    loss_function = nn.CrossEntropyLoss()
    ask = torch.compile(model) if compiled else model
    batch = load(case)
    truth = torch.from_numpy(labels(case)).long()

    def run(calls: int) -> None:
        model.train()
        for _ in range(calls):
            optimizer.zero_grad(set_to_none=True)
            with autocast(case):
                logits = ask(batch())
            loss = loss_function(logits.float(), truth.to(device(case)))
            loss.backward()
            optimizer.step()
        loss.item()

    return run


def forward(case: Case, compiled: bool) -> Callable[[int], None]:
    """uint8 pictures from the host in, float32 logits on the host out."""
    model = model_of(case)[0]
    ask = torch.compile(model) if compiled else model
    batch = load(case)

    def run(calls: int) -> None:
        model.eval()
        with torch.inference_mode(), autocast(case):
            for _ in range(calls):
                ask(batch()).float().cpu().numpy()

    return run


def hooked_cam(case: Case, count: int) -> Callable[[int], None]:
    """Grad-CAM by a forward hook and one short gradient for each target.

    What somebody who knows PyTorch writes: the gradient stops at the layer, the maps
    of a batch stay on the device, and are resized there.
    """
    model, layer, _ = model_of(case)
    batch = load(case)
    asked = torch.from_numpy(targets(case, count)).long().to(device(case))

    def one_batch() -> None:
        kept: list[torch.Tensor] = []
        hook = layer.register_forward_hook(lambda *found: kept.append(found[-1]))
        # Nothing below the layer is kept for a gradient.
        with torch.no_grad(), autocast(case):
            model(batch())
        hook.remove()
        activations = kept.pop().float().requires_grad_()
        logits = _head(model, activations)
        for k in range(count):
            score = logits.gather(1, asked[:, k : k + 1]).sum()
            grads = torch.autograd.grad(score, activations, retain_graph=True)[0]
            weights = grads.mean((2, 3), keepdim=True)
            maps = torch.relu((weights * activations).sum(1, keepdim=True))
            maps = nn.functional.interpolate(maps, size=case.size, mode="bilinear")
            low, high = maps.amin((2, 3), True), maps.amax((2, 3), True)
            ((maps - low) / (high - low + 1e-7)).detach().cpu().numpy()

    def run(calls: int) -> None:
        model.eval()
        for _ in range(calls):
            one_batch()

    return run


def _head(model: nn.Module, activations: torch.Tensor) -> torch.Tensor:
    """Logits from the last activation: pooling and the linear layer."""
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    return linear(activations.mean((2, 3)))


def device_memory() -> float | None:
    """Peak memory of the accelerator in MiB, None on a CPU."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 2**20


def versions(case_model: str = "auto") -> dict[str, str]:
    """Versions of the packages that matter, and the source of EfficientNet-B0."""
    found = {"torch": torch.__version__}
    source = torch_model.build(case_model)[2]
    return {**found, "EfficientNet-B0 in PyTorch": source}
