"""`weights`: the published extractor weights, offline."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from harness.cli._common import console, json_option, print_rows


@click.group()
def weights() -> None:
    """Published extractor weights: what is here, import a file, download."""


@weights.command(name="list")
@json_option
def weights_list(as_json: bool) -> None:
    """What the extractors need, whether it is here, and where it is published."""
    from harness.features.weights import KNOWN, folders, locate

    rows = []
    for file in KNOWN:
        path = locate(file)
        rows.append(
            {"extractor": file.extractor, "file": file.name, "here": str(path) if path else "no", "source": file.url}
        )
    print_rows(rows, as_json=as_json)
    console(stderr=True).print(
        f"looked for in: {', '.join(map(str, folders()))}\none file an extractor is enough; "
        "without network: fetch it on any machine, then `harness weights import FILE`",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@weights.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
def weights_import(file: Path) -> None:
    """Check a file's SHA-256 against the published ones and copy it into the cache."""
    from harness.features.weights import import_file

    click.echo(f"verified and copied to {import_file(file)}")


@weights.command(name="download")
@click.argument("extractor")
def weights_download(extractor: str) -> None:
    """Download an extractor's published weights (https, SHA-256 checked)."""
    from harness.features.weights import fetch

    click.echo(f"verified: {fetch(extractor)}")


@weights.command(name="verify")
def weights_verify() -> None:
    """Check the SHA-256 of every weight file that is here."""
    from harness.features.weights import KNOWN, locate, verify

    for file in KNOWN:
        path = locate(file)
        if path:
            verify(path, file)
            click.echo(f"as published: {path}")
