"""Recognises documented words in other spellings.

Source: Account Events and Funding Events list statuses and codes in capital letters. A rule reads `returned`,
`Returned ` and `\\ufeffRETURNED` as RETURNED: an alert must not depend on spelling. States and typed records keep the
text as sent, and the event counts as an unknown value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import normalize

if TYPE_CHECKING:
    from collections.abc import Iterable

_NO_LETTERS = re.compile(r"[\W_]+")


class Words:
    """Words that a document lists. `words(text)` returns the one that `text` spells, or `text` itself."""

    def __init__(self, words: Iterable[str]) -> None:
        self._by_letters = {letters(word): word for word in words}
        self._exact = frozenset(self._by_letters.values())

    def __call__(self, text: str) -> str:
        return text if text in self._exact else self._by_letters.get(letters(text), text)


def normalized(text: str) -> str:
    """Return the text in half-width capitals, cut to its first and last letter or digit."""
    text = normalize("NFKC", text.upper())
    start, end = 0, len(text)
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return text[start:end]


def letters(text: str) -> str:
    """Return only letters and digits, in one case and width."""
    return _NO_LETTERS.sub("", normalize("NFKC", text.casefold()))
