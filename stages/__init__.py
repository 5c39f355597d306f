"""The stages. What has to be so before TensorFlow, Keras and Matplotlib are loaded, whoever loads them first.

What a user's files and environment say to these libraries for other projects changes no result here.
"""

import sys

from stages.shared.pipeline.ending import end_in_a_sentence

if sys.argv[:1] == ["-m"]:  # python -m stages.NAME or tools.NAME; a test that imports one ends as it wants
    end_in_a_sentence()  # before the rest: that, too, can be stopped

import gc
import io
import os
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ENVIRONMENT = {
    # TensorFlow's notices (no CUDA found, CPU features) say nothing about this pipeline.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # With oneDNN an image's activations are the same to the last bit wherever it stands in a batch. TensorFlow
    # takes it unasked only on processors with instructions for neural networks. On others its own convolutions,
    # which are slower, round differently here and there in a batch: results from the store would not fit.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # A GPU multiplies what is called float32 with 10 bits of mantissa, unless it is told not to.
    "NVIDIA_TF32_OVERRIDE": "0",
}
# Keras does without these where they are not installed. To load them takes as long as Keras itself, and what it
# has for them, wrappers and pictures, no stage uses.
OPTIONAL = ("matplotlib", "sklearn")
# Leaves out what TensorFlow writes to standard error before it has read TF_CPP_MIN_LOG_LEVEL. In a process of its
# own, so that the last words of a TensorFlow that crashes come through.
FILTER = """
import re, sys
notices = re.compile(b"WARNING: All log messages before absl::InitializeLog|.* oneDNN custom operations are on")
for line in sys.stdin.buffer:
    if not notices.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
"""


@contextmanager
def without_notices(spec: ModuleSpec) -> Iterator[None]:
    """Leave out TensorFlow's notices; all else that it writes in the block comes through."""
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with subprocess.Popen([sys.executable, "-IS", "-c", FILTER], stdin=subprocess.PIPE) as filtering:
        assert filtering.stdin
        os.dup2(filtering.stdin.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def without_settings(spec: ModuleSpec) -> Iterator[None]:
    """Hide from Keras in the block its variables, the folder with keras.json, which it would write, and OPTIONAL."""
    hidden = dict.fromkeys(name for name in os.environ if name.startswith("KERAS_"))
    nowhere = os.devnull  # below it no file can be
    with variables({**hidden, "KERAS_BACKEND": "tensorflow", "KERAS_HOME": nowhere}), absent(OPTIONAL):
        yield


@contextmanager
def with_defaults(spec: ModuleSpec) -> Iterator[None]:
    """Have Matplotlib draw to files, with its own defaults: it reads the matplotlibrc of the working directory."""
    with variables({"MPLBACKEND": "agg"}), chdir(Path(spec.origin or "").with_name("mpl-data")):
        yield


@contextmanager
def absent(names: tuple[str, ...]) -> Iterator[None]:
    """Have imports of `names` in the block fail as where they are not installed."""
    loaded = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del modules[name]
        modules.update(loaded)


@contextmanager
def without_collecting() -> Iterator[None]:
    """Search nothing for garbage that the block makes, then or later: a library stays, and has millions of objects."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextmanager
def variables(ours: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables in the block, or remove those that are None."""
    users = {name: os.environ.get(name) for name in ours}
    set_variables(ours)
    try:
        yield
    finally:
        set_variables(users)


def set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


CONTEXTS = {"tensorflow": without_notices, "keras": without_settings, "matplotlib": with_defaults}


class InContext(MetaPathFinder):
    """Has each library of CONTEXTS loaded in its context."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in CONTEXTS:
            return None
        if (spec := PathFinder.find_spec(name)) and spec.loader:
            spec.loader.exec_module = without_collecting()(CONTEXTS[name](spec)(spec.loader.exec_module))
        return spec


for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)
sys.meta_path.insert(0, InContext())
sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]  OpenVINO and NNCF do without it
if any("error".startswith(option.partition(":")[0]) for option in sys.warnoptions):
    warnings.simplefilter("default")  # a stage is no test of the libraries, whatever PYTHONWARNINGS says
if isinstance(sys.stdout, io.TextIOWrapper):  # it is none where it is closed, and in a notebook
    sys.stdout.reconfigure(errors="backslashreplace")  # a name that cannot be printed is no reason to fail
