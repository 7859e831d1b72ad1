"""PyTorch twins of the image models: children carry the names of the Flax modules, so that weights map by name."""

import torch
from torch import nn
from torch.nn import functional as F


class MLP(nn.Module):
    def __init__(self, classes: int = 10, inputs: int = 64, width: int = 256):
        super().__init__()
        self.dense1, self.dense2 = nn.Linear(inputs, width), nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, classes]."""
        x = x.permute(0, 2, 3, 1).flatten(1)
        return self.head(F.relu(self.dense2(F.relu(self.dense1(x)))))


class LeNet(nn.Module):
    def __init__(self, classes: int = 10):
        super().__init__()
        self.c1, self.c3 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.c5, self.f6, self.head = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 1, 28, 28] -> [B, classes]."""
        x = F.avg_pool2d(torch.tanh(self.c1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.c3(x)), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)  # Flax flattens channels last.
        return self.head(torch.tanh(self.f6(torch.tanh(self.c5(x)))))


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        if stride > 1 or inputs != width:
            self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if hasattr(self, "shortcut"):
            x = self.shortcut_norm(self.shortcut(x))
        return F.relu(x + y)


class ResNet18(nn.Module):
    """With the stem for small images: one 3x3 convolution."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        self.blocks, inputs = [], 64
        for stage, width in enumerate((64, 128, 256, 512), start=1):
            for number in (1, 2):
                block = Block(inputs, width, 2 if stage > 1 and number == 1 else 1)
                self.add_module(f"stage{stage}_block{number}", block)
                self.blocks.append(block)
                inputs = width
        self.head = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, classes]."""
        x = F.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))
