"""dvc.yaml says the truth about what each stage reads, runs and writes."""

import ast
import re
import shlex
from itertools import product
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import DEFAULTS, PIPELINE, PROJECT, SIZE, change, place_weights, run

STAGES = PIPELINE["stages"]


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


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_exactly_the_imported_modules(name):
    declared = {dep for dep in STAGES[name]["deps"] if dep.endswith(".py")}
    empty = {"stages/shared/__init__.py"}
    assert declared == {str(file) for file in imported_modules(PROJECT / f"stages/{name}.py")} - empty


@pytest.mark.parametrize("name", STAGES)
def test_command_arguments_are_the_declared_paths(name):
    stage = STAGES[name]
    arguments = shlex.split(stage["cmd"])[3:]
    written = [path for kind in ("outs", "metrics", "plots") for path in paths(stage.get(kind, []))]
    from_parameters = "${data.images}"
    read = [dep for dep in stage["deps"] if not dep.startswith("stages/") and dep != from_parameters]
    covered = {path for path in read if any(Path(argument) in Path(path).parents for argument in arguments)}
    assert sorted(set(arguments)) == sorted(set(read) - covered | set(written))
    assert len(arguments) == len(set(arguments))


@pytest.mark.parametrize("name", [name for name in STAGES if name != "model_card"])
def test_outputs_keep_the_run_cache_on(name):
    """DVC switches its run-cache off for outs with cache: false, persist and always_changed.

    The model card is text for git, neither metrics nor a plot, and written anew in a second.
    """
    stage = STAGES[name]
    assert "always_changed" not in stage
    for out in stage["outs"]:
        assert isinstance(out, str) or next(iter(out.values())) == {"push": False}


def test_what_is_large_and_recomputable_stays_local():
    settings = [out for stage in STAGES.values() for out in stage["outs"] if not isinstance(out, str)]
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
        if "params" in stage and name != "fetch_weights":
            keys = [*stage["params"], "store"]  # it changes no output
            yaml.dump(declared_keys(everything, keys), Path("params.yaml"))
            run(name)
    yaml.dump(declared_keys(everything, STAGES["fetch_weights"]["params"]), Path("params.yaml"))
    Path("data/weights/conv_base.weights.h5").unlink()
    run("fetch_weights")
    assert Path("metrics/evaluation.json").exists()


def test_every_parameter_is_declared_by_a_stage_with_its_whole_section():
    """So a key that is new in a section makes a stage run, which then rejects it."""
    whole = {key for stage in STAGES.values() for key in stage.get("params", []) if "." not in key}
    assert whole == set(YAML(typ="safe").load(PROJECT / "params.yaml")) - {"store", "gate"}


def test_the_picture_in_the_readme_shows_every_stage_and_only_true_arrows():
    picture = re.search(r"```mermaid\n.*?```", (PROJECT / "README.md").read_text(), re.DOTALL)[0]
    drawn = set()
    for sources, targets in re.findall(r"^ +(.+?) -->(?:\|.+?\|)? (.+)$", picture, re.MULTILINE):
        drawn |= set(product(sources.split(" & "), targets.split(" & ")))
    assert {stage for arrow in drawn for stage in arrow} == set(STAGES)
    for source, target in drawn:
        read = [dep.replace("${data.images}", "data/raw/elpv") for dep in STAGES[target]["deps"]]
        written = [path for kind in ("outs", "metrics") for path in paths(STAGES[source].get(kind, []))]
        assert any(Path(dep).is_relative_to(out) for dep in read for out in written), (source, target)


def test_the_tests_have_the_parameters_that_users_have():
    ours, users = (YAML(typ="safe").load(file) for file in (DEFAULTS, PROJECT / "params.yaml"))
    assert {section: set(value) if isinstance(value, dict) else None for section, value in ours.items()} == {
        section: set(value) if isinstance(value, dict) else None for section, value in users.items()
    }
