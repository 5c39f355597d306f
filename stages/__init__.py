"""The stages. What has to be so before TensorFlow is loaded, whoever loads it first."""

import os
import subprocess
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

ENVIRONMENT = {
    # TensorFlow's notices (no CUDA found, CPU features) say nothing about this pipeline.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # With oneDNN an image's activations are the same to the last bit wherever it stands in a batch. TensorFlow
    # takes it unasked only on processors with instructions for neural networks. On others its own convolutions,
    # which are slower, round differently here and there in a batch: results from the store would not fit.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}
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


class QuietTensorFlow(MetaPathFinder, Loader):
    """Loads TensorFlow without its notices; all else that it writes meanwhile comes through."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        if (spec := PathFinder.find_spec(name)) and spec.loader:
            self.loader, spec.loader = spec.loader, self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        sys.meta_path.remove(self)
        try:
            stderr = os.dup(2)
        except OSError:  # it is closed
            self.loader.exec_module(module)
            return
        with subprocess.Popen([sys.executable, "-IS", "-c", FILTER], stdin=subprocess.PIPE) as filtering:
            assert filtering.stdin
            os.dup2(filtering.stdin.fileno(), 2)
            try:
                self.loader.exec_module(module)
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)


for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)
sys.meta_path.insert(0, QuietTensorFlow())
