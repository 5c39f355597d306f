"""The stages. What has to be so before TensorFlow is loaded, whoever loads it first."""

import os
import re
import sys
import tempfile
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
# What it writes to the standard error of every process before it has read TF_CPP_MIN_LOG_LEVEL.
NOTICES = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|.* oneDNN custom operations are on"
)


class QuietTensorFlow(MetaPathFinder, Loader):
    """Loads TensorFlow without its notices; all else that it writes meanwhile comes through."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        if (spec := PathFinder.find_spec(name)) and spec.loader:
            self.loader, spec.loader = spec.loader, self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        with tempfile.TemporaryFile() as written:
            stderr = os.dup(2)
            os.dup2(written.fileno(), 2)
            try:
                self.loader.exec_module(module)
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)
                written.seek(0)
                os.write(2, b"".join(line for line in written if not NOTICES.match(line)))


for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)
sys.meta_path.insert(0, QuietTensorFlow())
