"""The pages say the truth about the code: what they name is there, and what a user can meet is on them.

Each check takes a page and returns what is wrong on it. The last test gives each of them a mistake to find.
"""

import ast
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from ruamel.yaml import YAML

from stages.model_card.facts import flatten
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.model_archive import DecisionRule, Metadata

PROJECT = Path(__file__).parents[1]
README, TROUBLESHOOTING = PROJECT / "README.md", PROJECT / "docs/troubleshooting.md"
PAGES = [README, PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md"))]
PARAMETERS = YAML(typ="safe").load(PROJECT / "params.yaml")
PIPELINES = ("data/raw/dvc.yaml", "dvc.yaml")
STAGES = {
    name: stage
    for file in PIPELINES
    for name, stage in YAML(typ="safe").load(PROJECT / file)["stages"].items()
}
CODE = sorted(file for folder in ("stages", "tools") for file in (PROJECT / folder).rglob("*.py"))
PATH = re.compile(
    r"(?<![\w/.:<-])(?:\.ci|\.dvc|bench|data|docs|export|metrics|stages|tests|tools)/[\w./{},*<>-]*"
)
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
# What pages name and no file or output is: a user's own, made when it is used, or to be filled in.
ELSEWHERE = [
    r"data/raw/(mine|dogs-vs-cats)(\.dvc|/.*)?",
    r"data/environment/<stage>\.json",
    r"export/\w+/?",
    r"\.dvc/(cache|config\.local|tmp/rwlock)",
    r"(stages|tools)/NAME\.py",
]
# Other names without a folder: what is made when it is used, or lies in an archive or a package.
FILES = {
    "Thumbs.db",
    "compare.png",
    "dvc.lock",
    "keras.json",
    "metadata.json",
    "model.json",
    "training_features.npy",
    "select.csv",
    "select.png",
    "__main__.py",
}
DVC_OPTIONS = {"--allow-missing"}


class Page(NamedTuple):
    file: Path
    tokens: list[Token]  # of blocks and of what is in their lines

    def codes(self) -> Iterator[str]:
        """Yield what stands in backticks, and each line of what stands in fences."""
        for token in self.tokens:
            if token.type == "code_inline":
                yield token.content
            elif token.type == "fence":
                yield from token.content.splitlines()

    def anchors(self) -> set[str]:
        """Return the anchors that GitHub gives the headings."""
        found = set()
        for before, token in pairwise(self.tokens):
            if before.type == "heading_open" and token.children:
                heading = "".join(child.content for child in token.children)
                found.add(re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"))
        return found


def parse(text: str, file: Path) -> Page:
    tokens = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        tokens += [token, *(token.children or [])]
    return Page(file, tokens)


@cache
def read(file: Path) -> Page:
    return parse(file.read_text(encoding="utf-8"), file)


def check_links(page: Page) -> list[str]:
    """Every link to a file of the project, and every anchor in it."""
    wrong = []
    for token in page.tokens:
        link = str(token.attrGet("href") or token.attrGet("src") or "")
        if not link or re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.file.parent / path if path else page.file
        if not target.exists():
            wrong.append(f"{link}: there is no such file")
        elif anchor and anchor not in (read(target) if path else page).anchors():
            wrong.append(f"{link}: there is no such heading")
    return wrong


def check_make(page: Page) -> list[str]:
    """Every target of make, and every variable that it is given."""
    makefile = (PROJECT / "Makefile").read_text()
    rules = re.findall(r"^([\w./% -]+):(?!=)", makefile, re.MULTILINE)
    targets = [target.replace("%", "*") for rule in rules for target in rule.split()]
    wrong = []
    for code in page.codes():
        for command in re.split(r"&&|;", code.partition("#")[0]):
            for word in command.split()[1:] if command.split()[:1] == ["make"] else []:
                name, given, _ = word.partition("=")
                there = (
                    f"$({name})" in makefile if given else any(fnmatch(name, target) for target in targets)
                )
                if not there:
                    wrong.append(f"make {word}")
                if '"' in word:  # a value with blanks, which is the last word on our pages
                    break
    return wrong


def check_modules(page: Page) -> list[str]:
    """Every module that python -m runs, and every option on its line."""
    wrong = []
    for code in page.codes():
        for module, rest in re.findall(r"python -m ([\w.]+)(.*)", code):
            known = options(module)
            if known is None:
                wrong.append(f"python -m {module}: there is no such module")
            else:
                wrong += [
                    f"python -m {module} {option}" for option in OPTION.findall(rest) if option not in known
                ]
    return wrong


@cache
def options(module: str) -> set[str] | None:
    """Return the options of a module of the project that python -m runs, and None where there is none.

    A stage's are those of its command in dvc.yaml; others state theirs as text.
    """
    path = PROJECT / module.replace(".", "/")
    file = next((file for file in (path.with_suffix(".py"), path / "__main__.py") if file.exists()), None)
    if file is None:
        return None
    package, _, stage = module.partition(".")
    if package == "stages":
        return set(OPTION.findall(STAGES[stage]["cmd"])) if stage in STAGES else None
    return set(re.findall(r"\"(--[a-z][\w-]*)\"", file.read_text()))


def check_options(page: Page) -> list[str]:
    """Every option that stands for itself: of a stage, of a tool or of DVC."""
    modules = [".".join(file.relative_to(PROJECT).with_suffix("").parts) for file in CODE]
    modules = [module.removesuffix(".__main__") for module in modules]
    known = DVC_OPTIONS.union(*(options(module) or () for module in modules))
    alone = [code.split()[0] for code in page.codes() if OPTION.match(code)]
    return [option for option in alone if option not in known]


def check_parameters(page: Page) -> list[str]:
    """Every parameter with a dot, and every one that -S sets."""
    wrong = []
    for token in page.tokens:
        named = re.fullmatch(r"([\w-]+)\.(\w+|\*)(?:(?:: |=).*)?", token.content)
        if token.type == "code_inline" and named and not is_known(*named.groups()):
            wrong.append(token.content)
    for code in page.codes():
        for name in re.findall(r"-S (\S+?)=", code):
            section, _, key = name.partition(".")
            values = PARAMETERS.get(section)
            if section not in PARAMETERS or key not in (values if isinstance(values, dict) else {"": None}):
                wrong.append(f"-S {name}")
    return wrong


def is_known(before: str, after: str) -> bool:
    """Return whether `before`.`after` is a parameter, a module of ours, or a file without its folder."""
    if isinstance(PARAMETERS.get(before), dict):
        return after == "*" or after in PARAMETERS[before]
    module, name = PROJECT / before / after, f"{before}.{after}"
    return module.is_dir() or module.with_suffix(".py").exists() or (PROJECT / name).exists() or name in FILES


def check_paths(page: Page) -> list[str]:
    """Every path of the project: in the tree, below or above what a stage writes, or one of ELSEWHERE."""
    named = {path.rstrip(".,") for code in page.codes() for path in PATH.findall(code)}
    for token in page.tokens:
        if token.type == "fence" and token.info == "text":  # the tree: a path and what is there, a line each
            named |= {line.split()[0] for line in token.content.splitlines()}
    return [path for path in sorted(named) if not all(map(is_there, alternatives(path)))]


def alternatives(path: str) -> list[str]:
    """Return what the shell makes of `path` with {one,another} in it."""
    before, _, rest = path.partition("{")
    found, _, after = rest.partition("}")
    return [f"{before}{one}{after}" for one in found.split(",")]


def is_there(path: str) -> bool:
    if path in (*PIPELINES, PARAMETERS["data"]["labels_corrected"]) or any(
        re.fullmatch(pattern, path) for pattern in ELSEWHERE
    ):
        return True
    if path.startswith(("data/", "metrics/")) and path.strip("/") not in ("data", "metrics"):
        return any(fnmatch(out, path) or is_related(Path(path), Path(out)) for out in outputs())
    return any(PROJECT.glob(path)) if "*" in path else (PROJECT / path).exists()


def is_related(path: Path, other: Path) -> bool:
    return path.is_relative_to(other) or other.is_relative_to(path)


@cache
def outputs() -> list[str]:
    entries = [
        out
        for stage in STAGES.values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    ]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def check_python(page: Page) -> list[str]:
    """Every Python program is one, and every key that it takes from metadata.json is in a model."""
    wrong = []
    for token in page.tokens:
        if token.type == "fence" and token.info == "python":
            try:
                ast.parse(token.content)
            except SyntaxError as error:
                wrong.append(str(error))
            keys = re.findall(r"metadata\[\"(\w+)\"\]", token.content)
            wrong += [key for key in keys if key not in Metadata.model_fields]
    return wrong


CHECKS: list[Callable[[Page], list[str]]] = [
    check_links,
    check_make,
    check_modules,
    check_options,
    check_parameters,
    check_paths,
    check_python,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_page_names_what_there_is(file, check):
    assert check(read(file)) == []


def test_the_readme_is_read_in_three_minutes():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_linked_from_the_readme():
    links = {token.attrGet("href") for token in read(README).tokens}
    assert [page.name for page in PAGES[1:] if page.relative_to(PROJECT).as_posix() not in links] == []


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_page_begins_with_what_it_is_about(file):
    blocks = [
        token.type for token in read(file).tokens if token.level == 0 and token.nesting >= 0 and token.block
    ]
    assert blocks[:2] == ["heading_open", "paragraph_open"]


def sentences(text: str) -> list[str]:
    """Return the error sentences in the tables of `text` whose first column is what you see."""
    tables = re.findall(r"^\| what you see \|.*?(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    cells = [line.split(" | ")[0] for table in tables for line in table.splitlines()[2:]]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def template(node: ast.AST) -> str | None:
    """Return the text that `node` makes, with … for what it fills in; None where it is no text."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@cache
def nodes() -> list[ast.AST]:
    return [node for file in CODE for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]


def fits(sentence: str, code: str) -> bool:
    """Return whether the parts of `sentence` between its … are in `code`, in that order."""
    place = 0
    for part in filter(None, map(str.strip, sentence.split("…"))):
        place = code.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


def test_every_sentence_on_the_page_is_in_the_code():
    written = [text for text in map(template, nodes()) if text] + [(PROJECT / "Makefile").read_text()]
    found = sentences(TROUBLESHOOTING.read_text(encoding="utf-8"))
    assert len(found) > 80
    assert [sentence for sentence in found if not any(fits(sentence, text) for text in written)] == []


def test_every_sentence_in_the_code_is_on_the_page():
    """Of errors that a user can mend: those that add no word to what the system says are left out."""
    kinds = ("UserError", "ValueError", "OSError")
    calls = [node for node in nodes() if isinstance(node, ast.Call) and node.args]
    raised = [
        template(call.args[0]) for call in calls if isinstance(call.func, ast.Name) and call.func.id in kinds
    ]
    said = [text for text in raised if text and re.search(r"\w{3}", text)]
    found = sentences(TROUBLESHOOTING.read_text(encoding="utf-8"))
    assert len(said) > 60
    assert [text for text in said if not any(fits(sentence, text) for sentence in found)] == []


def test_the_page_says_who_runs_again_after_an_edit():
    """Of each shared folder: the stages whose deps name it."""
    text = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(stages/shared/[^`]+)` \| .+ \| (.+) \|$", text, re.MULTILINE)
    said = {
        folder: set(STAGES) if who == "every stage" else set(re.findall(r"`(\w+)`", who))
        for folder, who in rows
    }
    named = {dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith("stages/shared/")}
    assert said == {dep: {name for name, stage in STAGES.items() if dep in stage["deps"]} for dep in named}


def test_the_page_says_what_a_model_carries():
    text = (PROJECT / "docs/using-models.md").read_text(encoding="utf-8")
    table = re.search(r"^\| key \|.*?\n\n", text, re.DOTALL | re.MULTILINE)
    assert table
    keys = ["class_names", *DecisionRule.model_fields, *ImageInput.model_fields, "training_images"]
    assert re.findall(r"^\| `(\w+)`", table[0], re.MULTILINE) == keys


def test_the_page_says_what_each_parameter_takes():
    text = TROUBLESHOOTING.read_text(encoding="utf-8").partition("## What parameters take")[2]
    assert set(re.findall(r"`([^`]+)`", text)) == set(flatten(PARAMETERS))
    fields = [keyword for node in nodes() if isinstance(node, ast.Call) for keyword in node.keywords]
    descriptions = [template(field.value) for field in fields if field.arg == "description"]
    # model_card reads whole sections, and each is checked by the stage that it is of.
    stated = {text for text in descriptions if text} - {"a section of parameters"}
    assert len(stated) > 30
    assert [one for one in stated if not fits(one, text)] == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (check_links, "[a](docs/no-such-page.md)"),
        (check_links, "![a](docs/no-such-picture.png)"),
        (check_links, "[a](docs/results.md#no-such-heading)"),
        (check_links, "# One\n\n[a](#two)"),
        (check_make, "`make reproduce`"),
        (check_make, "```\nsource .venv/bin/activate && make PYTHN=python3.12 repro  # a comment\n```"),
        (check_modules, "`python -m tools.predictor`"),
        (check_modules, "```\npython -m tools.predict photos/    # --modell FILE\n```"),
        (check_modules, "`python -m stages.train_head --training-split data/splits/train.csv`"),
        (check_options, "`--no-such-option`"),
        (check_parameters, "`head.unit: 64`"),
        (check_parameters, "`haed.units`"),
        (check_parameters, "`heads.*`"),
        (check_parameters, "```\ndvc exp run -S fine_tune.rate=1e-5\n```"),
        (check_parameters, "```\ndvc exp run -S imagesize=224\n```"),
        (check_paths, "`metrics/no_such.json`"),
        (check_paths, "`data/models/{head,no_such}.keras`"),
        (check_paths, "`stages/shared/utils.py`"),
        (check_paths, "```text\nstages/no_such/   a folder\n```"),
        (check_python, "```python\nprint(1\n```"),
        (check_python, '```python\nmetadata["no_such"]\n```'),
    ],
)
def test_a_mistake_is_found(check, text):
    assert len(check(parse(text, README))) == 1
