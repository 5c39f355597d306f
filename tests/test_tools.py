"""What `python -m tools` lists, and what tools.show_results makes of what it finds."""

import ast
import json
from pathlib import Path

import pytest

from tests.conftest import PROJECT, refused, states
from tools import __main__ as tools
from tools import show_results


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


EVALUATION = {
    "head": {"accuracy": 0.5, "balanced_accuracy": 0.5, "roc_auc": None, "average_precision": 1, "loss": 2}
}


@pytest.mark.parametrize(
    "content", ["", "[]", "5", "{}", '{"head": 5}', '{"head": {"accuracy": "much"}}', "\ud800", "[" * 5000]
)
def test_an_evaluation_that_no_run_has_written(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    Path("evaluation.json").write_text(content, errors="surrogatepass")
    with refused("evaluation.json", "damaged"):
        show_results.main(Path())


def test_results_are_shown(tmp_path, capsys):
    (tmp_path / "evaluation.json").write_text(json.dumps(EVALUATION))
    show_results.main(tmp_path)
    assert states(capsys.readouterr().out, "head", 0.5, "report.html")
