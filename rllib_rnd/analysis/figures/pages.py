"""What the HTML pages of this package share: how templates are read, and their style (``page.css.jinja``)."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

_HERE = "rllib_rnd.analysis.figures"


def page_environment(package: str = _HERE) -> Environment:
    """Reads templates of a package, and those that all pages share."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(name, ".") for name in dict.fromkeys((package, _HERE))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
