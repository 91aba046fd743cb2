"""Places in an ``Event``, for the code that runs for every line.

Compiled, a place of a tuple is read at once and a name is looked up each time (measured: a tenth
of an import); a test holds the two against each other.
"""

from typing import Final

AT_US: Final = 0
KIND: Final = 1
SOURCE: Final = 2
PID: Final = 3
QUEUE_ID: Final = 4
SAID: Final = 5
"""``Event.fields``."""
