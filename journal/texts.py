"""What is asked of wire bytes for every message. Raises nothing."""


def holds(text: bytes, word: bytes) -> bool:
    """``word in text``; for that CPython 3.11 makes and drops an exception each time (measured)."""
    return text.partition(word)[1] != b""
