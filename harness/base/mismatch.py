"""Mismatch: what a value of a YAML file ought to be, where msgspec only says that it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from harness.base.text import shortened

CORRECT = "correct that key or value"
NUMBER = r"[-+]?[0-9]{1,20}(\.[0-9]{0,20})?([eE][-+]?[0-9]{1,2})?"
"""What people write for a number, and YAML takes for text: "0.7", 1e-9."""
LONGEST = 300  # of what msgspec says, which quotes values whole


def explain(error: msgspec.ValidationError, kind: Any, data: Any) -> tuple[str, str]:
    """What is wrong with `data`, which is no `kind`, and what to do.

    To msgspec's message come the keys or values that are known at that place.
    """
    said, _, place = str(error).rpartition(" - at `$")  # a value may hold these signs, too
    said, place = (shortened(said, LONGEST), place) if said else (shortened(place, LONGEST), "")
    steps = [step.strip(".[]") for step in re.findall(r"\.\w+|\[(?:\d+|\.\.\.)\]", place)]
    types, value = [inspect.type_info(kind)], data
    for step in steps:
        types = [inner for one in types for inner in _inside(one, step)]
        value = _item(value, step)
    key = re.sub(r"^\.", "", place.rstrip("`"))
    message = f"{key}: {said}" if key else said
    choices = [str(found) for one in types if isinstance(one, inspect.LiteralType) for found in one.values]
    known = [field.encode_name for one in _meant(types, value) for field in one.fields]
    got = f"{message}, {shortened(repr(value), 60)}"
    if choices:
        return f"{message} (known: {', '.join(choices)})", CORRECT
    if said.startswith("Invalid value"):  # of the key that tells the members of a union apart
        return f"{message} (known: {', '.join(_tags(kind, steps))})", CORRECT
    if "unknown field" in said:
        return f"{message} (known: {', '.join(known)})", CORRECT
    if said.startswith("Expected `object`"):
        return f"{got} (keys: {', '.join(known)})", f"write {key}: {{{known[0]}: ...}}" if key and known else CORRECT
    if re.match("Expected `(float|int)", said) and isinstance(value, str) and re.fullmatch(NUMBER, value):
        number = re.sub(r"^(-?\d+)e", r"\1.0e", repr(float(value))) if "e" in value.lower() else value
        return got, f"write {key}: {number}, without quotes"
    if said.startswith("Expected `str") and isinstance(value, int | float):
        return got, f'put it in quotes: {key}: "{value}"'
    if said.startswith("Expected `array`") and isinstance(value, str | int | float):
        return got, f"write a list: {key}: [{shortened(str(value), 60)}]"
    return message, CORRECT


def _item(value: Any, step: str) -> Any:
    """What a key or an index leads to; None for msgspec's "[...]", any key of a mapping."""
    if isinstance(value, list):
        return value[int(step)] if step.isdecimal() and int(step) < len(value) else None
    return value.get(step) if isinstance(value, dict) else None


def _inside(one: inspect.Type, step: str) -> Iterator[inspect.Type]:
    """The types that a key or an index leads to, those of a union one by one."""
    if isinstance(one, inspect.StructType):
        found = [field.type for field in one.fields if field.encode_name == step]
    elif isinstance(one, inspect.DictType):
        found = [one.value_type]
    elif isinstance(one, inspect.TupleType):
        found = list(one.item_types)
    else:
        found = [item] if (item := getattr(one, "item_type", None)) is not None else []
    for inner in found:
        yield from inner.types if isinstance(inner, inspect.UnionType) else (inner,)


def _meant(types: list[inspect.Type], value: Any) -> list[inspect.StructType]:
    """The objects that may be meant: of those that a key tells apart, the one that it names."""
    objects = [one for one in types if isinstance(one, inspect.StructType)]
    named = [
        one for one in objects if one.tag_field and isinstance(value, dict) and value.get(one.tag_field) == one.tag
    ]
    return named or objects


def _tags(kind: Any, steps: list[str]) -> list[str]:
    """The tags of the members of a union, at whose tag's place `steps` ends."""
    types = [inspect.type_info(kind)]
    for step in steps[:-1]:
        types = [inner for one in types for inner in _inside(one, step)]
    return [str(one.tag) for one in types if isinstance(one, inspect.StructType) and one.tag_field == steps[-1]]
