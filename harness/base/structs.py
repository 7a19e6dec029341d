"""Immutable records, and strict reading and writing of their JSON and YAML files."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from harness.base.errors import UsageError
from harness.base.files import MAX_BYTES, read_regular, write_text
from harness.base.mismatch import explain
from harness.base.text import shortened

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


def read_json(path: Path, kind: type[T], *, at_most: int = MAX_BYTES) -> T:
    """Read JSON of at most so many bytes into the record type `kind`; UsageError names the file, the place in it and
    what was expected."""
    try:
        return msgspec.json.decode(read_regular(path, at_most=at_most), type=kind)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", fix="check the path") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: {error}", fix="restore the file; if it lies in the cache, delete it") from error


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that also refuses anchors, aliases, merge keys, tags, duplicate keys, and text that cannot be shown.

    A date stays text: nothing here asks for one, and 2024-13-45 is a version.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (as the base class has it)
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refused("anchors and aliases are not allowed", event)
        if getattr(event, "tag", None):
            raise _refused(f"the tag {event.tag!a} is not allowed", event)
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, OverflowError):  # 0b_, more digits than Python reads, 1:1:1:... (base 60)
            raise _refused(f"{shortened(node.value, 40)!a} is no number", node) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise _refused(f"{value} is no number that can be used", node)
        if isinstance(value, int) and abs(value) >= 2**63:  # other bases may write what no message can
            raise _refused(f"{shortened(node.value, 40)!a} is no number that can be used", node)
        if not isinstance(value, str):
            return value
        # "\ud83d\ude00", as JSON writes it, is one character; half of it is none
        text = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if odd := re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text):
            raise _refused(f"the character {odd[0]!a} is not allowed in text", node)
        return text

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(f"key {key!a} is not text", key_node)
            if not key.isprintable():
                raise _refused(f"key {shortened(key, 80)!a} cannot be shown", key_node)
            if key in seen:
                raise _refused(f"key {key!a} appears twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _refused(why: str, at: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, why, at.start_mark)


def read_yaml(path: Path, kind: type[T], *, forms: Mapping[str, str] | None = None) -> T:
    """Read a YAML file of at most 64 kB into the record type `kind`. `forms` says of a key how it is written.

    UsageError names the file and the place for: unreadable or oversized files, tags, anchors, aliases, control
    characters, duplicate or unknown keys, missing keys, wrong types.
    """
    try:
        data = yaml.load(read_regular(path, at_most=MAX_YAML_BYTES), Loader=_StrictLoader)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", fix="check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that there is not, text that is none, ...
        said = str(error).replace('in "<byte string>", line', "in line")
        other = isinstance(error, yaml.reader.ReaderError) and error.encoding != "unicode"  # bytes that are none of it
        fix = "save the file as UTF-8" if other else "correct that line"
        raise UsageError(f"{path}: not plain YAML: {said}", fix=fix) from error
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
