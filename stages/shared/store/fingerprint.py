"""The fingerprint: a digest of all that a stage's results depend on, whatever each of them is computed from."""

import json
from collections.abc import Iterable
from hashlib import sha256

import stages
from stages.shared.network import environment
from stages.shared.store.code import code_digest


def take_fingerprint(modules: Iterable[str], values: Iterable[object]) -> bytes:
    """Return the SHA-256 over the code of `modules`, `values`, versions and machine.

    `modules` are the files of those whose code decides about the last bit; `values` are what JSON takes. The
    number of cores is not part of it: whose result depends on that names it among the `values`.
    """
    code = [code_digest(module).hex() for module in modules]
    machine = {name: value for name, value in environment.describe().items() if name != "cores"}
    described = [*values, code, stages.ENVIRONMENT, machine]
    return sha256(json.dumps(described, sort_keys=True).encode()).digest()
