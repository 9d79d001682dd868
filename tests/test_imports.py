"""Imports go one way: kubeflow → pipeline → components → models, and never in a circle."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import ROOT

ORDER = ["models", "components", "pipeline", "kubeflow"]


@pytest.mark.parametrize("package", ORDER)
def test_no_package_imports_one_above_it(package):
    above = ORDER[ORDER.index(package) + 1 :]
    for module, source in sources(package).items():
        for name in imported(ast.parse(source)):
            assert name.split(".")[0] not in above, f"{module} imports {name}"


@pytest.mark.parametrize("package", ORDER)
def test_no_module_imports_itself_by_way_of_others(package):
    """Not inside of functions either: whoever reads one of two need not read the other."""
    found = circle(sources(package))
    assert not found, " → ".join(found)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from p.q import b", True),
        ("import p.q.b", True),
        ("def f():\n    from p.q.b import x", True),
        ("from p.q.c import x", False),
        ("if TYPE_CHECKING:\n    from p.q.b import X", False),
    ],
)
def test_a_circle_is_seen(source, found):
    modules = {"p.q": "", "p.q.a": source, "p.q.b": "from p.q import a", "p.q.c": ""}
    assert bool(circle(modules)) == found


def sources(package: str) -> dict[str, str]:
    """Module -> its text."""
    return {
        dotted(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in (ROOT / package).rglob("*.py")
    }


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circle(modules: Mapping[str, str]) -> list[str]:
    """Modules that import each other in turn, for more than their types; none if there are none."""
    order = graphlib.TopologicalSorter()
    for module, source in modules.items():
        names = imported(RunTime().visit(ast.parse(source)))
        found = (name if name in modules else name.rpartition(".")[0] for name in names)
        order.add(module, *({*found} & modules.keys() - {module}))
    try:
        order.prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


class RunTime(ast.NodeTransformer):
    """Takes away what only type checkers import."""

    def visit_If(self, node: ast.If) -> ast.AST:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return ast.Pass()
        return self.generic_visit(node)


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, anywhere in it: modules, and names inside modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
