"""The reference of protocols and manifests, generated from the types that read them.

python tests/docs/reference.py     # write docs/protocols.md and the table of docs/contract.md anew
"""

from __future__ import annotations

import inspect
import io
import tokenize
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as types

from harness import features, metrics
from harness.imaging import denoise
from harness.imaging.insertion import Scanner
from harness.imaging.lesion import Lesion
from harness.imaging.regions import shrink
from harness.protocol import (
    Coupled,
    FidelityGate,
    FolderData,
    LesionGate,
    Lesions,
    Metric,
    Noise,
    PhantomData,
    Protocol,
    Publish,
    Purify,
    RankBy,
    ScansData,
    load_protocol,
    protocol_names,
)
from harness.sandbox import AskedLimits, Limits
from harness.submission.manifest import Image, Manifest, Weights

ROOT = Path(__file__).resolve().parent.parent.parent
PROTOCOLS, CONTRACT = ROOT / "docs" / "protocols.md", ROOT / "docs" / "contract.md"
BEGIN, END = "<!-- manifest: python tests/docs/reference.py -->", "<!-- end of manifest -->"
OF_PROTOCOL = (
    Protocol,
    PhantomData,
    Lesions,
    Lesion,
    FolderData,
    ScansData,
    Purify,
    Noise,
    Scanner,
    Metric,
    RankBy,
    FidelityGate,
    LesionGate,
    Coupled,
    Limits,
    Publish,
)
NO_KEYS: dict[type, tuple[str, ...]] = {Protocol: ("official",)}  # read from a file of their own
OF_MANIFEST = (Manifest, Image, Weights, AskedLimits)
INTRODUCTION = """<!-- written by: python tests/docs/reference.py -->
# Protocols

A protocol is one benchmark as a file, `protocols/<name>.yaml`: data, label recipe, regions, metrics, limits, ranking.
This page is generated from the types that read it. Keys that no type knows, YAML aliases and files over 64 kB are
refused, with the file and the key in the message.

    harness list protocols
    harness run submissions/tv -p protocols/phantom-mini.yaml --leaderboard /somewhere/else

`-p NAME` takes `protocols/NAME.yaml` of the current folder if there is one, else the protocol of that name that comes
with the harness. `-p` with a path that ends in `.yaml` or `.yml` takes that file. The digests of its official test set
lie beside it, in `<name>-<version>.slices.json` ([portability.md](portability.md)).
"""


def comments(struct: type) -> dict[str, str]:
    """The comment at the end of each field's line."""
    found: dict[str, str] = {}
    name = ""
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(struct)).readline):
        if token.type == tokenize.NAME and token.start[1] == 4:
            name = token.string
        elif token.type == tokenize.COMMENT and token.line.strip() != token.string:
            found.setdefault(name, token.string.lstrip("# "))
    return found


def shown(kind: types.Type) -> str:
    """A type in words, for a cell of a table."""
    match kind:
        case types.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case types.UnionType(types=several):
            return " or ".join(shown(one) for one in several)
        case types.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case types.VarTupleType(item_type=item):
            return f"list of: {shown(item)}"
        case types.TupleType(item_types=items):
            return "[" + ", ".join(shown(one) for one in items) + "]"
        case types.StrType(pattern=pattern, max_length=longest):
            length = f", at most {longest} characters" if longest else ""
            return f"text{length}" if pattern is None else f"text like `{pattern}`"
        case types.IntType() | types.FloatType():
            bounds = ((kind.ge, "≥"), (kind.gt, ">"), (kind.le, "≤"), (kind.lt, "<"))
            noun = "integer" if isinstance(kind, types.IntType) else "number"
            return ", ".join([noun, *(f"{sign} {bound:g}" for bound, sign in bounds if bound is not None)])
        case types.BoolType():
            return "`true`, `false`"
        case types.NoneType():
            return "null"
    raise TypeError(f"{kind}: say how the reference shows it")


def default(field: types.Field) -> str:
    """A field's default as it would stand in the file, or that it has to be given."""
    if field.required:
        return "**required**"
    if field.default is field.default_factory is msgspec.NODEFAULT:
        return "–"  # UNSET
    value: Any = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        return "that type's own"
    return "–" if plain in ("", None, [], ()) else f"`{msgspec.json.encode(plain).decode()}`".replace('"', "")


def section(struct: type, *, level: str = "##") -> str:
    """Heading, docstring and table of one type."""
    kind = types.type_info(struct)
    assert isinstance(kind, types.StructType)
    said = comments(struct)
    lines = [f"{level} {struct.__name__}\n", inspect.cleandoc(struct.__doc__ or ""), ""]
    lines += ["| key | what | default | |", "|---|---|---|---|"]
    if kind.tag_field:
        lines.append(f"| `{kind.tag_field}` | `{kind.tag}` | **required** | says that it is this one |")
    for field in kind.fields:
        if field.name in NO_KEYS.get(struct, ()):
            continue
        cells = (f"`{field.encode_name}`", shown(field.type), default(field), said.get(field.name, ""))
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def names() -> str:
    """The names that a protocol may use, each with what it means."""
    lines = [
        "## Names\n",
        "**Metrics** ([metrics.md](metrics.md) explains them; every record names the implementation)\n",
    ]
    lines += ["| metric | kind | unit | regions | implementation |", "|---|---|---|---|---|"]
    for name in metrics.names():
        metric = metrics.load(name)
        kind, unit, regions = "distribution", "–", "all"
        if isinstance(metric, metrics.ImageMetric):
            kind, unit, regions = "image", metric.unit or "–", ", ".join(metric.regions or ["all"])
        lines.append(f"| `{name}` | {kind} | {unit} | {regions} | {metric.implementation} |")
    lines += ["\n**Regions**\n", inspect.cleandoc(shrink.__doc__ or "").partition("\n\n")[2], ""]
    for title, known in (("Extractors", features), ("Weak denoisers", denoise)):
        lines += [f"**{title}**\n", ", ".join(f"`{name}`" for name in known.names()), ""]
    lines += ["**Protocols**\n"]
    for name in protocol_names():
        protocol = load_protocol(name)
        lines.append(f"* `{name}`, version {protocol.version}: {protocol.title}. {protocol.description}")
    return "\n".join(lines) + "\n"


def documents() -> dict[Path, str]:
    """File -> its text as it is to be."""
    example = (ROOT / "protocols" / "phantom.yaml").read_text()
    parts = [INTRODUCTION, *(section(one) for one in OF_PROTOCOL), names(), f"## Example\n\n```yaml\n{example}```\n"]
    head, rest = CONTRACT.read_text().split(BEGIN)
    table = "\n".join(section(one, level="###") for one in OF_MANIFEST)
    return {PROTOCOLS: "\n".join(parts), CONTRACT: f"{head}{BEGIN}\n\n{table}\n{END}{rest.split(END)[1]}"}


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
