"""Who was forgotten: digests by which a source is recognised and refused, and from which nothing can be read back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bodydouble.corpus.store import Store
from bodydouble.corpus.values import Source

FOLDER = "tombstones"


def digest_of(kind: str, text: str) -> str:
    """What is kept of a text that must not be kept."""
    return hashlib.blake2b(f"bodydouble tombstone/{kind}/{text}".encode(), digest_size=24).hexdigest()


@dataclass(frozen=True)
class Tombstones:
    """Digests of everything that was forgotten."""

    digests: frozenset[str]

    @classmethod
    def load(cls, store: Store) -> Tombstones:
        """All tombstones of a corpus."""
        found: set[str] = set()
        for name in store.list(FOLDER, ".json"):
            found.update(store.read_json(name)["digests"])
        return cls(frozenset(found))

    def names(self, source: Source) -> bool:
        """Whether a source is one that was forgotten: by its key, its content or its place on the web."""
        return not self.digests.isdisjoint(digests_of(source))


def digests_of(source: Source) -> set[str]:
    """By what a source is recognised."""
    found = {digest_of("source", source.id), digest_of("key", source.takedown_key or source.id)}
    if source.sha256:
        found.add(digest_of("content", source.sha256))
    if "://" in source.uri:
        found.add(digest_of("uri", source.uri))
    return found
