"""``python -m tests.score``: see main."""

from tests.score.main import main

if __name__ == "__main__":
    main()
