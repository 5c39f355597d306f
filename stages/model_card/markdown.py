"""The card's template, in Markdown that shows every value as it is."""

import json
import re
from pathlib import Path

import jinja2

TEMPLATE = Path(__file__).with_name("model_card.md")
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # controls, of direction too
MARKUP = re.compile(r"[\\`*|~$\[\]]|<(?=[a-zA-Z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")


def render(**values: object) -> str:
    """Return the card with `values`, each escaped: names of files and classes may hold anything."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        finalize=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["figure"] = "{:.3f}".format
    return templates.get_template(TEMPLATE.name).render(values)


def escape(value: object) -> str:
    """Return `value`, as YAML has it if it is no text, on one line on which Markdown shows it as it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    return MARKUP.sub(r"\\\g<0>", UNSEEN.sub("", " ".join(text.split())))
