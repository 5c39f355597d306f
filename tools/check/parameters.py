"""params.yaml against what every stage, the store and the gate state of their parameters."""

from importlib import import_module
from pkgutil import iter_modules

import stages
from stages.shared.pipeline.parameters import PARAMETERS, Sections, check_sections, read_parameters
from stages.split_dataset.__main__ import SECTIONS
from tools import gate
from tools.check.findings import Findings


def check_parameters(findings: Findings) -> None:
    """Find every parameter that a stage or the gate would refuse, and sections that nobody reads."""
    with findings.collect():
        check_sections(SECTIONS)
    for schema in (*find_schemas(), gate.Parameters):
        with findings.collect():
            read_parameters(schema)
    with findings.collect():
        for rule in read_parameters(gate.Parameters).gate.rules:
            with findings.collect():
                gate.parse(rule)
    findings.checked.append(str(PARAMETERS))


def find_schemas() -> list[type[Sections]]:
    """Return what the stages state of the parameters that they read."""
    found = {}
    for _, name, is_package in iter_modules(stages.__path__):
        if name != "shared":
            module = import_module(f"stages.{name}.__main__" if is_package else f"stages.{name}")
            found |= dict.fromkeys(filter(_is_schema, vars(module).values()))
    return list(found)


def _is_schema(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Sections) and value is not Sections
