"""What this package's plug-ins say of themselves, read off their source: importing them imports torch, for seconds.

Names, descriptions, sources, costs and options are written once, in the file of the plug-in. Python itself evaluates
what is read: the assignments and option dataclasses that are asked for are executed, and what they refer to before
them; nothing else of a module is. What comes from a library is a stand-in of the same name: enough for a table.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
#: Modules of this package that are imported: they make options, and import nothing of weight themselves.
_IMPORTED = ("rllib_rnd.options",)

_Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Plugin:
    """One class of this package, as its source describes it.

    Attributes:
        name: in experiment files.
        description: the first line of its docstring.
        source, cost: as it states them; "" where it does not.
        options: its dataclass of options; None if it has none.
    """

    name: str
    description: str
    source: str = ""
    cost: str = ""
    options: type | None = None


def registered(folder: str, registry: str) -> list[Plugin]:
    """Returns the classes below ``@registry.register`` in a folder of this package, sorted by name."""
    found = []
    for path in sorted((_PACKAGE / folder).rglob("*.py")):
        module = ".".join(("rllib_rnd", *path.relative_to(_PACKAGE).with_suffix("").parts))
        for node in _definitions(module).values():
            decorators = node.decorator_list if isinstance(node, ast.ClassDef) else []
            if any(ast.unparse(decorator) == f"{registry}.register" for decorator in decorators):
                found.append(plugin(module, node.name))  # type: ignore[union-attr]
    return sorted(found, key=lambda each: each.name)


def plugin(module: str, cls: str) -> Plugin:
    """Returns what a class says of itself, and its bases for it; its name is the class's where it has no other."""
    node = _definitions(module)[cls]
    assert isinstance(node, ast.ClassDef)
    options = _attribute(module, cls, "Options")
    return Plugin(
        name=str(_attribute(module, cls, "name") or cls),
        description=(ast.get_docstring(node) or "").split("\n")[0].replace("``", ""),
        source=str(_attribute(module, cls, "source") or ""),
        cost=str(_attribute(module, cls, "cost") or ""),
        options=options if isinstance(options, type) else None,
    )


def subclasses(module: str, base: str) -> list[str]:
    """Returns the classes of a module that are derived from a class of that name, in the order of the file."""
    definitions = _definitions(module).values()
    return [
        node.name
        for node in definitions
        if isinstance(node, ast.ClassDef) and base in {ast.unparse(parent) for parent in node.bases}
    ]


def keys_of(file: Path, name: str) -> list[str]:
    """Returns the keys of a mapping that a file of somebody else's assigns to a name; empty if it does not."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) == name:
            return [
                key.value for key in node.value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
            ]
    return []


@functools.cache
def value(module: str, name: str) -> object:
    """Returns what a name of a module stands for, without importing the module."""
    node = _definitions(module).get(name)
    if node is None:
        origin, original = _imports(module).get(name, ("", name))
        if origin in _IMPORTED or origin.partition(".")[0] in sys.stdlib_module_names:
            found = importlib.import_module(origin)
            return getattr(found, original) if original else found
        if origin.startswith("rllib_rnd.") and _file(origin).is_file():
            return value(origin, original)
        return _stand_in(name)
    read = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
    known = {other: value(module, other) for other in read - {name} if _is_known(module, other)}
    known["__name__"] = module
    try:
        exec(compile(ast.Module([node], []), str(_file(module)), "exec", dont_inherit=True), known)
    except Exception:  # it does something with a stand-in, which has only a name
        return _stand_in(name)
    return known[name]


def _is_known(module: str, name: str) -> bool:
    return not hasattr(builtins, name) and (name in _definitions(module) or name in _imports(module))


class _StandIn(type):
    """Of classes that stand in for what a library has: whatever is done with one gives one."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _stand_in(name)

    def __getitem__(cls, _item: object) -> type:
        return cls

    def __call__(cls, *_arguments: object, **_keywords: object) -> type:
        return cls


def _stand_in(name: str) -> type:
    return _StandIn(name, (), {})


def _attribute(module: str, cls: str, name: str) -> object:
    """The value of a class's attribute, its own or the nearest base's; None if none has it."""
    node = _definitions(module).get(cls)
    if node is None:
        origin, original = _imports(module).get(cls, ("", ""))
        return _attribute(origin, original, name) if origin.startswith("rllib_rnd.") else None
    assert isinstance(node, ast.ClassDef)
    for part in node.body:
        if isinstance(part, (ast.Assign, ast.AnnAssign)) and name in _targets(part) and part.value is not None:
            return _evaluated(module, part.value)
    bases = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
    found = (_attribute(module, base.id, name) for base in bases if isinstance(base, ast.Name))
    return next((each for each in found if each is not None), None)


def _evaluated(module: str, expression: ast.expr) -> object:
    read = {part.id for part in ast.walk(expression) if isinstance(part, ast.Name)}
    known = {name: value(module, name) for name in read if _is_known(module, name)}
    return eval(compile(ast.Expression(expression), str(_file(module)), "eval"), known)


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _file(module: str) -> Path:
    path = _PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


@functools.cache
def _definitions(module: str) -> dict[str, _Definition]:
    """What a module defines at its top level."""
    return dict(_defined(_tree(module)))


def _defined(tree: ast.Module) -> Iterator[tuple[str, _Definition]]:
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name, node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for name in _targets(node):
                yield name, node


@functools.cache
def _imports(module: str) -> dict[str, tuple[str, str]]:
    """Name -> module and name there ("" for the module itself), of what a module imports."""
    found: dict[str, tuple[str, str]] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: (node.module or "", alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
    return found
