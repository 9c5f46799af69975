"""What a reader raises inside, and how much it takes."""

import json

DAMAGED = "the file is damaged; export or download it again"
MOST = 10_000_000
"""Vertices, and faces, that a file may make: nodes that show one mesh many times make much of few bytes."""
LONGEST = 60
"""Characters of a file's own words that an error repeats."""


class Unreadable(ValueError):
    """What is wrong with a file, in a sentence that its name is still to be put before."""


def check_count(count: int, what: str) -> None:
    """Raise Unreadable for more than there may be."""
    if count > MOST:
        raise Unreadable(f"it makes {count} {what}, more than {MOST}; export a simpler mesh")


def brief(words: object) -> str:
    """A file's own words, in quotes, short and on one line."""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    return json.dumps(text if len(text) <= LONGEST else f"{text[:LONGEST]}...", ensure_ascii=False)
