"""The page's template."""

from pathlib import Path

import jinja2

TEMPLATE = Path(__file__).with_name("report.html")


def render(**values: object) -> str:
    """Return the page with `values`, each escaped: names of files and classes may hold anything."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(TEMPLATE.name).render(values)
