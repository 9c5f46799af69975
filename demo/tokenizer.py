"""Word-level tokenizer of the caption vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .captions import FILLERS, VOCABULARY

LENGTH = 16
PAD, START = 0, 1
SPECIAL = ("<pad>", "<start>")


@dataclass(frozen=True)
class Tokenizer:
    """Known words to ids, filler words to nothing, unknown words to nothing but reported by `unknown`."""

    vocabulary: Sequence[str] = tuple(VOCABULARY)
    length: int = LENGTH

    def words(self, text: str) -> list[str]:
        return re.findall(r"[a-z0-9]+", text.lower())

    def ids(self, text: str) -> list[int]:
        """Ids of the known words, without start or padding, of any length."""
        table = {word: i + len(SPECIAL) for i, word in enumerate(self.vocabulary)}
        return [table[word] for word in self.words(text) if word in table]

    def unknown(self, text: str) -> list[str]:
        """Words that the model has never read, each once."""
        known = set(self.vocabulary) | FILLERS
        return list(dict.fromkeys(word for word in self.words(text) if word not in known))

    def batch(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 [N, length]: start, words (the first length - 1 of them), padding."""
        rows = []
        for text in texts:
            row = [START, *self.ids(text)][: self.length]
            rows.append(row + [PAD] * (self.length - len(row)))
        return torch.tensor(rows, dtype=torch.int64)
