"""`weights`: the published weights of the feature extractors, offline."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from harness.cli._common import console, json_option, print_rows


@click.group()
def weights() -> None:
    """List, import, download and verify the published weights of the feature extractors."""


@weights.command(name="list")
@json_option
def weights_list(as_json: bool) -> None:
    """List the files that the extractors need, where they are here, and where they are published."""
    from harness.features.weights import KNOWN, folders, locate

    rows = []
    for file in KNOWN:
        path = locate(file)
        source = f"{file.url} (installed with the harness)" if file.package else file.url
        rows.append(
            {"extractor": file.extractor, "file": file.name, "here": str(path) if path else "no", "source": source}
        )
    print_rows(rows, as_json=as_json)
    console(stderr=True).print(
        f"searched: {', '.join(map(str, folders()))}\nOne file per extractor is enough. Without network: "
        "download it on any machine, then `harness weights import FILE`.",
        highlight=False,
        soft_wrap=True,
    )


@weights.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
def weights_import(file: Path) -> None:
    """Verify a file by its published SHA-256 and copy it into the cache."""
    from harness.features.weights import import_file

    click.echo(f"verified and copied to {import_file(file)}")


@weights.command(name="download")
@click.argument("extractor")
def weights_download(extractor: str) -> None:
    """Download the published weights of an extractor (https, verified by SHA-256)."""
    from harness.features.weights import fetch

    click.echo(f"verified: {fetch(extractor)}")


@weights.command(name="verify")
def weights_verify() -> None:
    """Verify every weight file that is here by its SHA-256."""
    from harness.features.weights import KNOWN, locate, verify

    for file in KNOWN:
        path = locate(file)
        if path:
            verify(path, file)
            click.echo(f"verified: {path}")
