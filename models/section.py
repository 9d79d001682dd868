"""What every section of the configuration has in common."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _as_yaml_means(cls, values: Any) -> Any:
        """A section without entries, null in YAML, has its defaults; `yes` is not the number 1."""
        if not isinstance(values, dict):
            return values
        kept = {}
        for name, value in values.items():
            field = cls.model_fields.get(name)
            kinds = set() if field is None else _kinds(field.annotation)
            sections = any(issubclass(kind, BaseModel | dict) for kind in kinds)
            if value is None and sections and type(None) not in kinds:
                continue
            if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
                raise ValueError(
                    f"{name} is a number; YAML reads yes, no, on and off as true and false. "
                    f"Received: {str(value).lower()}"
                )
            kept[name] = value
        return kept


def _kinds(annotation: Any) -> set[type]:
    """The classes that a value of a field may have."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*(_kinds(each) for each in get_args(annotation)))
    if get_origin(annotation) is Literal:
        return {type(each) for each in get_args(annotation)}
    kind = get_origin(annotation) or annotation
    return {kind} if isinstance(kind, type) else set()
