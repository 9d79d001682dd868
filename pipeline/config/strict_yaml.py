"""YAML without its surprises: a key stands once, and a number is what it looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

# What YAML 1.1 reads as another number than people do: `010` is 8, `1:30` is 90.
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def load(text: str) -> Any:
    """The value of a YAML document.

    Raises:
        yaml.YAMLError: it is none, holds a key twice, or a number that is easily misread.
    """
    return yaml.load(text, _Loader)


def load_all(text: str | bytes) -> Iterator[Any]:
    """The values of the documents of a YAML stream, as `load` reads them."""
    return yaml.load_all(text, _Loader)


def explain(error: yaml.YAMLError) -> str:
    """What is wrong, and in which line, as one line."""
    if isinstance(error, _Refused):
        return f"line {error.line}: {error.reason}"
    return f"not YAML: {' '.join(str(error).split())}"


class _Refused(yaml.YAMLError):
    """YAML that says something else than its author thinks."""

    def __init__(self, node: yaml.Node, reason: str):
        super().__init__(reason)
        self.line, self.reason = _line(node), reason


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which lets the last of equal keys win without a word."""

    # The stubs call the anchor a dict; it is its name.
    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:  # type: ignore[override]
        # Here, before the keys behind `<<` are among them, which are there to be replaced.
        node = super().compose_mapping_node(anchor)  # type: ignore[arg-type]
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            before = first.setdefault((key.tag, key.value), key)
            if before is not key:
                raise _Refused(
                    key,
                    f"{key.value!r} is there already, in line {_line(before)}; "
                    "join the two or remove one",
                )
        return node

    def number(self, node: yaml.ScalarNode) -> int | float:
        """The value of a number that is not easily misread."""
        integer = node.tag.endswith(":int")
        value = self.construct_yaml_int(node) if integer else self.construct_yaml_float(node)
        text = node.value
        if _OCTAL.fullmatch(text):
            plain = re.sub(r"^([-+]?)0+(?=\d)", r"\1", text)
            mend = f"write {plain}, or {value} if that is meant"
        elif _SIXTIES.fullmatch(text):
            mend = f"write {value} if that is meant"
        else:
            return value
        raise _Refused(node, f"YAML reads {text} as {value}; {mend}, or '{text}' for text")


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.number)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
