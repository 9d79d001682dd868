"""Imports go one way: kubeflow → pipeline → components → models."""

from __future__ import annotations

import ast

import pytest

from tests import ROOT

ORDER = ["models", "components", "pipeline", "kubeflow"]


@pytest.mark.parametrize("package", ORDER)
def test_no_package_imports_one_above_it(package):
    above = ORDER[ORDER.index(package) + 1 :]
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in above, f"{path} imports {name}"
