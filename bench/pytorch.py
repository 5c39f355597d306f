"""The notebook's work in PyTorch, as one would write it today: what a batch of each technique costs.

    python -m bench.pytorch FOLDER float32    FOLDER has train and validation with class folders

VGG16 is channels last and autocast to bfloat16 where that is asked for; what lies below block 5 runs under
no_grad. torchvision's v2 transforms run in a DataLoader worker a core, and Adam is fused. torch.compile is left
out: it took 21 to 77 s, and an image then took as long as before. Weights are random, which changes no speed.
Batches are the notebook's; in batches of 32 and 64 an image took as long.

Runs in .venv-peers, where neither TensorFlow nor Keras is, on a GPU where there is one. Prints JSON: seconds a batch
of 20 takes in each technique, from STEPS batches after WARM_UP, and the versions of the packages.
"""
# pyright: reportMissingImports=false

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import vgg16
from torchvision.transforms import InterpolationMode, v2

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 20
# A GPU is done with what the workers have loaded ahead before it has to wait for them.
WARM_UP, STEPS = (50, 50) if DEVICE == "cuda" else (3, 6)
BLOCK5 = 24  # the first layer of vgg16().features that fine-tuning trains
RESIZED = (v2.ToImage(), v2.Resize((150, 150)))
# The notebook's ranges. RandomAffine zooms width and height alike, and what comes in from outside is black.
AUGMENTED = (
    v2.RandomAffine(40, (0.2, 0.2), (0.8, 1.2), 0.2, InterpolationMode.BILINEAR),
    v2.RandomHorizontalFlip(),
)
NORMALIZED = (
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
)


def load(folder: Path, *transforms: nn.Module) -> DataLoader:
    """Return shuffled batches of images (n, 3, 150, 150) float32 with their labels (n,)."""
    return DataLoader(
        ImageFolder(folder, v2.Compose([*RESIZED, *transforms, *NORMALIZED])),
        batch_size=BATCH,
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        persistent_workers=True,
    )


def steady(batches: Iterable, step: Callable[..., object], steps: int = STEPS) -> float:
    """Return the mean seconds of `steps` batches after WARM_UP, their loading included, from as many rounds as it takes."""
    ends = []
    for images, labels in chain.from_iterable(repeat(batches)):
        step(images.to(DEVICE), labels.to(DEVICE))
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())
        if len(ends) == WARM_UP + steps:
            break
    return (ends[-1] - ends[-1 - steps]) / steps


def main(folder: Path, precision: str) -> None:
    autocast = torch.autocast(DEVICE, getattr(torch, precision), enabled=precision != "float32")
    base = vgg16(weights=None).features.to(DEVICE, memory_format=torch.channels_last)
    trunk, block5 = base[:BLOCK5], base[BLOCK5:]
    head = nn.Sequential(
        nn.Flatten(), nn.Linear(4 * 4 * 512, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 1)
    ).to(DEVICE)
    loss = nn.BCEWithLogitsLoss()

    def training(frozen: nn.Module, trained: nn.Module, rate: float) -> Callable[..., None]:
        optimizer = torch.optim.Adam(trained.parameters(), rate, fused=True)

        def step(images: torch.Tensor, labels: torch.Tensor) -> None:
            with autocast:
                with torch.no_grad():
                    outputs = frozen(images.contiguous(memory_format=torch.channels_last))
                logits = trained(outputs)[:, 0]
            loss(logits.float(), labels.float()).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def inference(network: nn.Module) -> Callable[..., None]:
        @torch.inference_mode()
        def step(images: torch.Tensor, labels: torch.Tensor) -> None:
            with autocast:
                network(images.contiguous(memory_format=torch.channels_last)).float()

        return step

    features, labels = torch.randn(2000, 512, 4, 4), torch.arange(2000) % 2  # 100 batches
    stored = zip(features.split(BATCH), labels.split(BATCH), strict=True)
    train, validation, whole = folder / "train", folder / "validation", nn.Sequential(base, head)
    seconds = {
        "extraction": steady(load(train), inference(base)),
        "head": steady(stored, training(nn.Identity(), head, 1e-4), 50),
    }
    for technique, frozen, trained in (
        ("augmented", base, head),
        ("fine_tuning", trunk, nn.Sequential(block5, head)),
    ):
        seconds[technique] = steady(load(train, *AUGMENTED), training(frozen, trained, 1e-5))
        whole.eval()
        seconds[f"{technique}_validation"] = steady(load(validation), inference(whole))
        whole.train()
    seconds["prediction"] = steady(load(validation), inference(whole.eval()))
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    print(json.dumps({**seconds, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
