"""The extractors of a protocol, loaded when their networks are first needed: that takes seconds, and cached scores need
none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import overload

from harness.features import weights
from harness.features._extractor import Extractor


class LazyExtractors(Sequence[Extractor]):
    """A sequence of extractors that `load(name)` gives, each loaded at its first use.

    Their published weights are found and verified at once: UsageError with the fix where they are missing or damaged.
    `weights` holds the SHA-256 of these files by the extractor's name, None where code generates the weights.
    """

    def __init__(self, names: Iterable[str], load: Callable[[str], Extractor]) -> None:
        published = {file.extractor for file in weights.KNOWN}
        self.weights = {name: weights.find(name)[0].sha256 if name in published else None for name in names}
        self._load = load
        self._loaded: dict[str, Extractor] = {}

    def __len__(self) -> int:
        return len(self.weights)

    @overload
    def __getitem__(self, index: int) -> Extractor: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Extractor]: ...

    def __getitem__(self, index: int | slice) -> Extractor | Sequence[Extractor]:
        names = list(self.weights)
        if isinstance(index, slice):
            return [self._one(name) for name in names[index]]
        return self._one(names[index])

    def _one(self, name: str) -> Extractor:
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]
