"""Read a stage's own part of params.yaml, checked against the schema that the stage states."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML

from stages.shared.pipeline.command import UserError

PARAMETERS = Path("params.yaml")
Schema = TypeVar("Schema", bound="Sections")


class Strict(BaseModel):
    """No type is converted, as "32" to 32, and no number is infinite."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Sections(Strict):
    """What a stage reads of params.yaml: sections, all of them required, beside those of other stages."""


class Section(Strict):
    """A section of params.yaml: every key required, none unknown.

    Each field's description says what is allowed; error messages quote it.
    """

    model_config = ConfigDict(extra="forbid")


class PartOfSection(Section):
    """The keys that a stage reads from a section whose other keys are another stage's."""

    model_config = ConfigDict(extra="ignore")


def read_parameters(schema: type[Schema], path: Path = PARAMETERS) -> Schema:
    """Return what `schema` describes from `path`; other stages' sections may be wrong or missing.

    Raises UserError, naming each wrong key, its value and what is allowed.
    """
    try:
        return schema.model_validate(_load(path))
    except ValidationError as error:
        problems = dict.fromkeys(_sentence(schema, problem) for problem in error.errors())
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems)) from None


def check_sections(known: Sequence[str], path: Path = PARAMETERS) -> None:
    """Raise UserError where `path` has a section that is none of `known`."""
    values = _load(path)
    unknown = [key for key in values if key not in known]
    if unknown:
        raise UserError("\n".join(f"{path}: {_unknown(key, values[key], known)}" for key in unknown))


def _load(path: Path) -> dict[str, Any]:
    """Return what is in `path`; raises UserError where it cannot be read, or has a name that is no text."""
    try:
        # YAML 1.2, as DVC reads it: 2e-5 is a number. In Python: the parser in C crashes on 100,000 open brackets.
        values = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run this from the project's top folder.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except Exception as error:  # of many kinds: YAMLError, and Python's on a date or a number that is none
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: it takes sections of parameters.")
    sections = [values, *(value for value in values.values() if isinstance(value, dict))]
    wrong = [name for section in sections for name in section if not isinstance(name, str)]
    if wrong:
        raise UserError(f"{path}: {wrong[0]!r} is no parameter: names are words, such as image_size.")
    return values


def _sentence(schema: type[BaseModel], problem: ErrorDetails) -> str:
    names, takes, section, parent = [], None, schema, schema
    for name in map(str, problem["loc"]):  # it goes on into a union's members, which are no keys of the file
        if section is None:
            break
        names.append(name)
        field, parent = section.model_fields.get(name), section
        section = _section(field.annotation) if field else None
        takes = "a section of parameters" if section else field and field.description
    key, value = ".".join(names), problem["input"]
    if problem["type"] == "extra_forbidden":
        return _unknown(key, value, list(parent.model_fields))
    if problem["type"] == "value_error":
        return f"{key}: {problem.get('ctx', {})['error']}"
    return (
        f"{key} is missing: it takes {takes}."
        if problem["type"] == "missing"
        else f"{key} is {value!r}, but it takes {takes}."
    )


def _unknown(key: str, value: object, known: Sequence[str]) -> str:
    close = get_close_matches(key.split(".")[-1], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
    return f"{key} (value {value!r}) is no parameter: {hint}"


def _section(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
