"""What `python -m tools` lists."""

import ast

from tests.conftest import PROJECT
from tools import __main__ as tools


def test_every_tool_is_listed_with_the_first_line_of_its_docstring(capsys):
    tools.main()
    lines = capsys.readouterr().out.splitlines()
    files = [file for file in PROJECT.glob("tools/*.py") if not file.stem.startswith("_")]
    files += PROJECT.glob("tools/*/__main__.py")
    listed = {line.split()[2]: " ".join(line.split()[3:]) for line in lines}
    assert len(listed) == len(lines) == len(files)
    for file in files:
        name = file.parent.name if file.stem == "__main__" else file.stem
        said = ast.get_docstring(ast.parse(file.read_text())) or ""
        assert listed[f"tools.{name}"] == said.splitlines()[0]
