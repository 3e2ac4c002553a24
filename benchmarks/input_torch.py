"""The original recipe's input in PyTorch: Pillow, a Dataset and a DataLoader.

Resize the short side to 256, crop 224, flip, normalize, erase; the transforms are
written out by hand, in the steps and the order in which torchvision has them.
"""

import math
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Images(Dataset):
    """Files as float32 (3, 224, 224), normalized, with a label of 0."""

    def __init__(self, paths: list[Path], training: bool):
        self.paths, self.training = paths, training
        self.mean = torch.tensor(MEAN).view(3, 1, 1)
        self.std = torch.tensor(STD).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        with open(self.paths[number], "rb") as file:
            image = Image.open(file).convert("RGB")
        image = crop(resize(image), self.training)
        if self.training and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.training and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        pixels = pixels.to(torch.float32).div_(255)
        pixels = pixels.sub_(self.mean).div_(self.std)
        return (erase(pixels) if self.training else pixels), 0


def resize(image: Image.Image, short: int = 256) -> Image.Image:
    """Bilinear and antialiased, as Pillow does it."""
    ratio = short / min(image.size)
    size = [int(ratio * side) for side in image.size]
    size[image.size.index(min(image.size))] = short
    return image.resize(size, Image.Resampling.BILINEAR)


def crop(image: Image.Image, training: bool, size: int = 224) -> Image.Image:
    """A random crop in training, else the center."""
    slack = image.width - size, image.height - size
    if training:
        left, top = (random.randint(0, free) for free in slack)
    else:
        left, top = (free // 2 for free in slack)
    return image.crop((left, top, left + size, top + size))


def erase(pixels: torch.Tensor, probability: float = 0.2) -> torch.Tensor:
    """One rectangle of 2 to 33 % of the image filled with noise (arXiv:1708.04896)."""
    if random.random() >= probability:
        return pixels
    _, height, width = pixels.shape
    for _ in range(10):
        area = random.uniform(0.02, 0.33) * height * width
        aspect = math.exp(random.uniform(math.log(0.3), math.log(3.3)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            pixels[:, top : top + h, left : left + w] = torch.randn(3, h, w)
            break
    return pixels


class Source:
    """Epochs of batches, as `input_worker` asks for them."""

    def __init__(self, paths: list[Path], batch_size: int, workers: int):
        self.paths = paths
        self._loader = DataLoader(
            Images(paths, True),
            batch_size,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            persistent_workers=True,
            prefetch_factor=2,
        )

    def epoch(self, number: int) -> Iterator[int]:
        """Sizes of the batches of an epoch, once each is there."""
        torch.manual_seed(number)
        for images, _ in self._loader:
            yield len(images)

    def center(self, count: int) -> np.ndarray:
        """Center crops of the first images, uint8 (count, 224, 224, 3)."""
        images = (Image.open(path).convert("RGB") for path in self.paths[:count])
        return np.stack([np.array(crop(resize(image), False)) for image in images])

    def versions(self) -> dict[str, str]:
        """Of the packages that do the work."""
        return {"torch": torch.__version__, "pillow": Image.__version__}
