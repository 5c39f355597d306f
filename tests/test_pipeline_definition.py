"""dvc.yaml says the truth about what each stage reads, runs and writes."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

PROJECT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load(PROJECT / "dvc.yaml")["stages"]


def imported_modules(module: Path) -> set[Path]:
    """Return the project's modules that `module` imports, directly or through another, and itself."""
    seen, waiting = set(), {module}
    while waiting:
        file = waiting.pop()
        seen.add(file)
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                path = PROJECT / name.replace(".", "/")
                waiting |= {found for found in (path.with_suffix(".py"), path / "__init__.py") if found.exists()}
        waiting |= {parent / "__init__.py" for parent in file.parents if (parent / "__init__.py").exists()}
        waiting -= seen
    return {file.relative_to(PROJECT) for file in seen}


def paths(entries: list) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_exactly_the_imported_modules(name):
    declared = {dep for dep in STAGES[name]["deps"] if dep.endswith(".py")}
    empty = {"stages/shared/__init__.py"}
    assert declared == {str(file) for file in imported_modules(PROJECT / f"stages/{name}.py")} - empty
