"""Benchmarks: EfficientNet-B0 in PyTorch, by timm, by torchvision, or written out.

The one written out here is that of Tan and Le 2019 (arXiv:1905.11946), table 1, with
the 5,288,548 parameters that the paper's model has for 1,000 labels. It serves where
neither timm nor torchvision can be installed for the PyTorch that there is.
"""

import math

import torch
from torch import nn

from benchmarks.case import NUM_LABELS

NUM_PARAMETERS = 5_288_548

# Expansion, kernel, stride, channels, blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
    """Convolution and batch normalization."""
    return (
        nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(outputs, eps=1e-3),
    )


class SqueezeExcite(nn.Module):
    """A gate for each channel, from the means of all channels."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W): the same shape."""
        return x * self.gate(x.mean((2, 3), keepdim=True))


class Block(nn.Module):
    """Inverted residual: expand, convolve each channel, gate, project."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride):
        super().__init__()
        wide = inputs * expand
        layers: list[nn.Module] = []
        if expand > 1:
            layers += [*_conv(inputs, wide, 1), nn.SiLU(inplace=True)]
        layers += [*_conv(wide, wide, kernel, stride, wide), nn.SiLU(inplace=True)]
        layers += [SqueezeExcite(wide, inputs // 4), *_conv(wide, outputs, 1)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W)."""
        y = self.layers(x)
        return x + y if self.residual else y


class EfficientNetB0(nn.Module):
    """The seven stages between a stem and a linear head."""

    def __init__(self, num_labels: int = NUM_LABELS):
        super().__init__()
        layers = [*_conv(3, 32, 3, 2), nn.SiLU(inplace=True)]
        inputs = 32
        for expand, kernel, stride, channels, blocks in _STAGES:
            for number in range(blocks):
                first = stride if number == 0 else 1
                layers.append(Block(inputs, channels, expand, kernel, first))
                inputs = channels
        layers += _conv(inputs, 1280, 1)
        self.features = nn.Sequential(*layers, nn.SiLU())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_labels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels
                deviation = math.sqrt(2 * module.groups / fan_out)
                nn.init.normal_(module.weight, 0, deviation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, S, S) in, logits out."""
        return self.head(self.features(x).mean((2, 3)))


def _timm():
    import timm

    return timm.create_model("efficientnet_b0", drop_rate=0.2), "bn2"


def _torchvision():
    from torchvision.models import efficientnet_b0

    return efficientnet_b0(), "features"


def _own():
    return EfficientNetB0(), "features"


_SOURCES = {"timm": _timm, "torchvision": _torchvision, "own": _own}


def build(source: str = "auto") -> tuple[nn.Module, nn.Module, str]:
    """The model, its module of the last activation, and its source.

    Args:
      source: "timm", "torchvision", "own", or "auto": the first of them that can be
        imported.

    Raises:
      RuntimeError: another number of parameters than B0 has.
    """
    torch.manual_seed(0)
    for name in _SOURCES if source == "auto" else (source,):
        try:
            model, layer = _SOURCES[name]()
        except (
            ImportError,
            RuntimeError,
        ):  # torchvision of another PyTorch raises both
            if name == source or name == "own":
                raise
            continue
        count = sum(p.numel() for p in model.parameters())
        if count != NUM_PARAMETERS:
            raise RuntimeError(
                f"{name}'s EfficientNet-B0 has {count:,} parameters, expected "
                f"{NUM_PARAMETERS:,}."
            )
        return model, model.get_submodule(layer), name
    raise AssertionError("unreachable")
