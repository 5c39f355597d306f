"""In which precisions this machine is fast: libraries choose their arithmetic by its kind, and so do we."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

CPUINFO = Path("/proc/cpuinfo")
Precision = Literal["float32", "bfloat16", "float16"]


def describe_processor() -> str:
    """Return what tells one kind of processor from another: its vendor, name and features."""
    if not CPUINFO.exists():
        return platform.processor()
    kinds = ("vendor_id", "model name", "flags", "Features")
    return "\n".join(sorted({line for line in CPUINFO.read_text().splitlines() if line.startswith(kinds)}))


def multiplies_bfloat16_fast(described: str) -> bool:
    """Return whether the processor so `described` multiplies bfloat16 faster than float32.

    Intel processors from Sapphire Rapids on (which have AVX-512 FP16) do so in their AMX unit
    alone. Where a hypervisor hides it, AVX-512 BF16 takes VGG16 1.85 times as long as float32.
    """
    words = set(described.split())
    hidden_amx = {"GenuineIntel", "avx512_fp16"} <= words
    return "amx_bf16" in words or ("avx512_bf16" in words and not hidden_amx)


def choose(processor: str, gpus: Sequence[tuple[int, int]]) -> Precision:
    """Return in which precision a base is fast on the oldest of `gpus`, or on a `processor` where there is none.

    Of a GPU it counts which compute capability it has. They have tensor cores from 7.0 on, which multiply float16,
    and from 8.0 on bfloat16 too, whose range is float32's.
    """
    if not gpus:
        return "bfloat16" if multiplies_bfloat16_fast(processor) else "float32"
    if min(gpus) >= (8, 0):
        return "bfloat16"
    return "float16" if min(gpus) >= (7, 0) else "float32"


def multiplies_int8_fast(described: str) -> bool:
    """Return whether the processor so `described` multiplies 8-bit integers faster than all else: x86 from AVX2 on.

    With VNNI or AMX they take about half of what bfloat16 takes, and with AVX2 alone half of what float32 does.
    """
    return "avx2" in described.split()
