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

# Hangul fillers are letters that show nothing; NFKC leaves these two of them.
_NO_LETTERS = re.compile(r"[\W_\u115f\u1160]+")
# Controls, and Default_Ignorable_Code_Point of the Unicode Character Database.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)


class Words:
    """Words that a document lists. `words(text)` returns the one that `text` spells, or `text` itself."""

    def __init__(self, words: Iterable[str]) -> None:
        self._by_letters = {letters(word): word for word in words}
        self._exact = frozenset(self._by_letters.values())

    def __call__(self, text: str) -> str:
        return text if text in self._exact else self._by_letters.get(letters(text), text)


def letters(text: str) -> str:
    """Return only letters and digits, in one case and width."""
    return _NO_LETTERS.sub("", normalize("NFKC", text).upper().casefold())


def visible(text: str) -> str:
    """Return what is visible of the text, in half-width capitals, cut to its first and last letter or digit."""
    text = _INVISIBLE.sub("", normalize("NFKC", text).casefold().upper())
    start = next((at for at, char in enumerate(text) if char.isalnum()), 0)
    return _trimmed(text[start:])


def before(text: str, word: str) -> str | None:
    """Return what comes before a word at the end of a text, up to its last letter or digit.

    None where the text doesn't end with the word, whatever is between its letters.
    """
    for letter in reversed(word):
        text = _trimmed(text)
        if not text.endswith(letter):
            return None
        text = text[:-1]
    return _trimmed(text)


def _trimmed(text: str) -> str:
    end = len(text)
    while end and not text[end - 1].isalnum():
        end -= 1
    return text[:end]
