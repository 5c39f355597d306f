"""The environment that computed a result, machine and libraries: its last bits depend on it."""

import json
import os
from importlib.metadata import distributions
from pathlib import Path

import keras
import numpy as np
import pi_heif
import PIL
import tensorflow as tf

import stages
from stages.shared.network import gpu
from stages.shared.network.precision import describe_processor
from stages.shared.pipeline.files import atomic_write

LIBRARIES = (tf, keras, np, PIL, pi_heif)
# Prefixes of the environment variables by which NumPy, TensorFlow and what it calls compute in another way. Not
# TF_ alone: Terraform keeps secrets under that.
SETTINGS = (
    "CUBLAS_",
    "DNNL_",
    "NPY_",
    "NVIDIA_TF32_",
    "ONEDNN_",
    "TF_AUTO_MIXED_",
    "TF_CONV2D_",
    "TF_CUDNN_",
    "TF_DETERMINISTIC_",
    "TF_DISABLE_",
    "TF_ENABLE_",
    "TF_FP16_",
    "TF_GPU_",
    "TF_MATMUL_",
    "TF_NUM_",
    "TF_ONEDNN_",
    "TF_SET_ONEDNN_",
    "TF_USE_CU",
    "TF_USE_DEEP_",
    "TF_XLA_",
    "XLA_",
)


def describe_devices() -> list[str]:
    """Return the devices, and where a GPU is among them also what decides about its arithmetic."""
    devices = tf.config.list_physical_devices()
    described = []
    for device in devices:
        details = tf.config.experimental.get_device_details(device)  # name and compute capability
        described.append(
            " ".join([device.device_type, *(f"{name}: {details[name]}" for name in sorted(details))])
        )
    if any(device.device_type == "GPU" for device in devices):
        build = tf.sysconfig.get_build_info()
        described += [f"{name}: {build[name]}" for name in ("cuda_version", "cudnn_version") if name in build]
        packages = {package.name: package.version for package in distributions()}
        described += [f"{name}: {packages[name]}" for name in sorted(packages) if name.startswith("nvidia-")]
        described += gpu.DRIVER.read_text().splitlines()[:1] if gpu.DRIVER.exists() else []
    return described


def describe() -> dict:
    """Return processor, cores, devices, libraries with their versions, and their settings, our own excepted."""
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(SETTINGS) and stages.ENVIRONMENT.get(name) != value
    }
    return {
        "processor": describe_processor().splitlines(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "devices": describe_devices(),
        "libraries": {module.__name__: module.__version__ for module in LIBRARIES},
        "settings": settings,
    }


def record(networks: list[keras.Model], file: Path, **others: str) -> None:
    """Write `describe`, the precisions in which `networks` compute, and `others` as JSON, for tools.verify."""
    precisions = {layer.compute_dtype for model in networks for layer in model.layers if layer.weights}
    _write(precisions, file, **others)


def record_saved(configs: list[dict], file: Path) -> None:
    """Write the same for saved networks that need not be loaded, given the config.json of each."""
    dtypes = [layer["config"].get("dtype") for config in configs for layer in config["config"]["layers"]]
    _write({keras.dtype_policies.get(dtype).compute_dtype for dtype in dtypes if dtype}, file)


def _write(precisions: set[str], file: Path, **others: str) -> None:
    described = {**describe(), "precision": sorted(precisions), **others}
    with atomic_write(file) as unfinished:
        unfinished.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")
