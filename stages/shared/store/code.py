"""The code on which a result depends."""

import ast
from functools import cache
from hashlib import sha256
from pathlib import Path


@cache
def code_digest(module: str) -> bytes:
    """Return the SHA-256 of a module's code, without its comments and line breaks."""
    return sha256(ast.dump(ast.parse(Path(module).read_bytes())).encode()).digest()
