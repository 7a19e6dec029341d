"""Immutable records, and strict reading and writing of their JSON and YAML files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from harness.base.errors import UsageError
from harness.base.files import write_text
from harness.base.mismatch import explain

T = TypeVar("T")
MAX_YAML_BYTES = 64 * 1024


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every record that passes between stages or to a file: immutable, keyword-only, unknown fields refused."""


def canonical_json(value: Any) -> bytes:
    """Compact JSON with sorted keys; NaN and infinities are refused (ValueError)."""
    plain = msgspec.to_builtins(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_json(path: Path, value: Any) -> None:
    """Write a record or plain data as readable, key-sorted JSON, atomically; NaN is refused (ValueError)."""
    plain = msgspec.to_builtins(value)
    write_text(path, json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, kind: type[T]) -> T:
    """Read JSON into the record type `kind`; UsageError names the file, the place in it and what was expected."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", fix="check the path") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", fix="restore the file; if it lies in the cache, delete it") from error


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that also refuses anchors, aliases, merge keys and duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.constructor.ConstructorError(None, None, "anchors and aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, kind: type[T], *, forms: Mapping[str, str] | None = None) -> T:
    """Read a YAML file of at most 64 kB into the record type `kind`. `forms` says of a key how it is written.

    UsageError names the file and the place for: unreadable or oversized files, Python tags, anchors, aliases,
    duplicate or unknown keys, missing keys, wrong types.
    """
    try:
        size = path.stat().st_size
        if size > MAX_YAML_BYTES:
            raise UsageError(
                f"{path}: has {size} bytes, at most {MAX_YAML_BYTES} are allowed", fix="move data out of the file"
            )
        data = yaml.load(path.read_bytes(), Loader=_StrictLoader)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", fix="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not plain YAML: {error}", fix="correct that line") from error
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}", fix="check the path and its permissions"
        ) from error
    try:
        return msgspec.convert(data, type=kind)
    except msgspec.ValidationError as error:
        message, fix = explain(error, kind, data)
        raise UsageError(f"{path}: {message}", fix=(forms or {}).get(message.partition(":")[0], fix)) from error


def expand_variables(text: str, *, where: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace `${NAME}` with the environment variable's value; UsageError names the variable that is not set."""
    from string import Template

    environment = os.environ if environment is None else environment
    try:
        return Template(text).substitute(environment)
    except KeyError as error:
        name = error.args[0]
        raise UsageError(
            f"{where}: {text!r} needs the environment variable {name}, which is not set",
            fix=f"export {name}=/path/to/the/data",
        ) from None
    except ValueError as error:
        raise UsageError(f"{where}: {text!r}: {error}", fix="write ${NAME} for a variable, $$ for a dollar") from None
