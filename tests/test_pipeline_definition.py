"""dvc.yaml says the truth about what each stage reads, runs and writes."""

import ast
import re
import shlex
from itertools import product
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import DEFAULTS, PIPELINE, PROJECT, SAMPLE, SIZE, change, place_weights, run, search

STAGES = {**SAMPLE["stages"], **PIPELINE["stages"]}


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
                waiting |= {
                    found for found in (path.with_suffix(".py"), path / "__init__.py") if found.exists()
                }
        waiting |= {parent / "__init__.py" for parent in file.parents if (parent / "__init__.py").exists()}
        waiting -= seen
    return {file.relative_to(PROJECT) for file in seen}


def paths(entries: list) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def main_module(name: str) -> Path:
    """Return the file that `python -m stages.NAME` runs."""
    package = PROJECT / f"stages/{name}/__main__.py"
    return package if package.exists() else PROJECT / f"stages/{name}.py"


def boundary(module: Path) -> str:
    """Return what a stage that imports `module` declares: its folder in stages or stages/shared, or itself."""
    parts = module.parts
    return "/".join(parts[: 3 if parts[1] == "shared" else 2])


def main_function(name: str) -> ast.FunctionDef:
    tree = ast.parse(main_module(name).read_text())
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")


def named_paths(name: str) -> dict[str, list[str]]:
    """Return the paths in the command of stage `name`, by the option before them."""
    options: dict[str, list[str]] = {}
    for word in shlex.split(STAGES[name]["cmd"])[4:]:
        if word.startswith("--"):
            options[word.removeprefix("--")] = []
        else:
            options[list(options)[-1]].append(word)
    return options


def written_by(name: str) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in paths(STAGES[name].get(kind, []))]


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_exactly_the_folders_of_the_imported_modules(name):
    declared = {dep for dep in STAGES[name]["deps"] if dep.startswith("stages/")}
    imported = imported_modules(main_module(name)) - {Path("stages/shared/__init__.py")}  # a docstring
    assert declared == {boundary(module) for module in imported}


def test_shared_folders_import_each_other_in_one_direction():
    """So that an edit runs again the stages that name the folder, and no others."""
    imports: dict[str, set[str]] = {}
    for file in sorted(PROJECT.glob("stages/shared/*/*.py")):
        module = file.relative_to(PROJECT)
        used = {boundary(other) for other in imported_modules(file) if "shared" in other.parts}
        imports.setdefault(boundary(module), set()).update(used)
    for folder, used in imports.items():
        for other in used & imports.keys() - {folder}:
            assert folder not in imports[other], f"{folder} and {other} import each other"


def test_nothing_that_a_training_or_evaluate_imports_draws():
    for name in ("train_head", "train_augmented", "fine_tune", "evaluate"):
        for module in imported_modules(main_module(name)):
            assert not re.search(r"(import|from) matplotlib", (PROJECT / module).read_text()), module


def test_stages_without_a_network_load_neither_keras_nor_tensorflow():
    """Which takes longer than all that most of them do."""
    without = [name for name, stage in STAGES.items() if "stages/shared/network" not in stage["deps"]]
    assert {"split_dataset", "audit_leakage", "draw_plots", "report", "model_card"} <= set(without)
    for name in without:
        for module in imported_modules(main_module(name)):
            assert not re.search(r"(import|from) (keras|tensorflow)", (PROJECT / module).read_text()), module


@pytest.mark.parametrize("name", STAGES)
def test_the_command_names_the_parameters_of_main_and_the_declared_paths(name):
    """A folder stands for what main's docstring says is in it; every path is declared, and each declared one named."""
    stage, options = STAGES[name], named_paths(name)
    accepted = [argument.arg.replace("_", "-") for argument in main_function(name).args.kwonlyargs]
    assert [option for option in options if option not in ("environment", "records")] == accepted
    read = [dep for dep in stage["deps"] if not dep.startswith(("stages/", "${"))]
    declared = {*read, *written_by(name)}
    given = {path for words in options.values() for path in words}
    for path in given:
        assert path in declared or any(Path(path) in Path(one).parents for one in declared), path
    for path in declared:
        assert path in given or any(Path(one) in Path(path).parents for one in given), path


@pytest.mark.parametrize("name", STAGES)
def test_main_takes_at_most_eight_paths_by_name_and_says_what_it_reads_and_writes(name):
    arguments, said = main_function(name).args, ast.get_docstring(main_function(name)) or ""
    assert not arguments.args and 1 <= len(arguments.kwonlyargs) <= 8
    assert "Reads: " in said and "Writes:" in said
    types = [argument.annotation for argument in arguments.kwonlyargs]
    assert {ast.unparse(kind) for kind in types if kind} == {"Path"}


@pytest.mark.parametrize("name", STAGES)
def test_the_records_are_what_dvc_does_not_keep(name):
    """Of what git keeps; and a stage with a network says what it ran on."""
    uncached = [
        next(iter(entry))
        for kind in ("metrics", "plots")
        for entry in STAGES[name].get(kind, [])
        if isinstance(entry, dict) and next(iter(entry.values())).get("cache") is False
    ]
    options = named_paths(name)
    if uncached:
        folder, *files = options["records"]
        assert folder == f"data/records/{name}" and sorted(files) == sorted(uncached)
    else:
        assert "records" not in options
    network = "stages/shared/network" in STAGES[name]["deps"] and name != "fetch_weights"
    assert options.get("environment") == ([f"data/environment/{name}.json"] if network else None)


@pytest.mark.parametrize("name", [name for name in PIPELINE["stages"] if name != "model_card"])
def test_outputs_keep_the_run_cache_on(name):
    """DVC switches its run-cache off for outs with cache: false, persist and always_changed.

    The model card is text for git, neither metrics nor a plot, and written anew in a second.
    """
    stage = STAGES[name]
    assert "always_changed" not in stage
    for out in stage["outs"]:
        assert isinstance(out, str) or next(iter(out.values())) == {"push": False}


def test_what_is_large_and_recomputable_stays_local():
    settings = [
        out for stage in PIPELINE["stages"].values() for out in stage["outs"] if not isinstance(out, str)
    ]
    local = [out for out in settings if "push" in next(iter(out.values()))]
    assert local == [{"data/default_activations": {"push": False}}, {"data/views": {"push": False}}]


def declared_keys(values: dict, declared: list[str]) -> dict:
    """Return `values`, the content of params.yaml, cut down to `declared` keys."""
    cut = {}
    for key in declared:
        *sections, name = key.split(".")
        source, target = values, cut
        for section in sections:
            source, target = source[section], target.setdefault(section, {})
        target[name] = source[name]
    return cut


def test_each_stage_reads_no_parameter_but_the_declared_ones(workspace, vgg16_weights):
    place_weights(vgg16_weights)
    change(image_size=SIZE)
    yaml = YAML(typ="safe")
    everything = yaml.load(Path("params.yaml"))
    for name, stage in STAGES.items():
        if name not in ("sample_dataset", "fetch_weights"):
            keys = [*stage.get("params", []), "store", "engine", "ray"]  # they change no output
            yaml.dump(declared_keys(everything, keys), Path("params.yaml"))
            run(name)
    yaml.dump(declared_keys(everything, STAGES["fetch_weights"]["params"]), Path("params.yaml"))
    Path("data/weights/conv_base.weights.h5").unlink()
    run("fetch_weights")
    assert Path("metrics/evaluation.json").exists()


def test_every_parameter_is_declared_by_a_stage_with_its_whole_section():
    """So a key that is new in a section makes a stage run, which then rejects it."""
    whole = {key for stage in STAGES.values() for key in stage.get("params", []) if "." not in key}
    assert whole == set(YAML(typ="safe").load(PROJECT / "params.yaml")) - {"store", "engine", "ray", "gate"}


def test_the_drawing_of_the_stages_shows_every_one_and_only_true_arrows():
    page = (PROJECT / "docs/architecture.md").read_text()
    picture = search(r"```mermaid\n.*?```", page, re.DOTALL)[0]
    drawn = set()
    for sources, targets in re.findall(r"^ +(.+?) -->(?:\|.+?\|)? (.+)$", picture, re.MULTILINE):
        drawn |= set(product(sources.split(" & "), targets.split(" & ")))
    assert {stage for arrow in drawn for stage in arrow} == set(STAGES)
    for source, target in drawn:
        read = [dep.replace("${data.images}", "data/raw/elpv") for dep in STAGES[target]["deps"]]
        written = written_by(source)
        assert any(Path(dep).is_relative_to(out) for dep in read for out in written), (source, target)


def test_the_tests_have_the_parameters_that_users_have():
    ours, users = (YAML(typ="safe").load(file) for file in (DEFAULTS, PROJECT / "params.yaml"))
    assert {section: set(value) if isinstance(value, dict) else None for section, value in ours.items()} == {
        section: set(value) if isinstance(value, dict) else None for section, value in users.items()
    }
