"""List the tools.

python -m tools
"""

import ast
from pathlib import Path


def main() -> None:
    """Print the name of each tool and the first line of its docstring, read without running it."""
    modules = {}
    for file in Path(__file__).parent.glob("*.py"):
        modules[file.stem] = file
    for file in Path(__file__).parent.glob("*/__main__.py"):
        modules[file.parent.name] = file
    for name in sorted(set(modules) - {"__init__", "__main__"}):
        says = ast.get_docstring(ast.parse(modules[name].read_text(encoding="utf-8"))) or ""
        print(f"python -m tools.{name:14}{says.splitlines()[0]}")


if __name__ == "__main__":
    main()
