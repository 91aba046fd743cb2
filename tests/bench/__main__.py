"""``python -m tests.bench``: see main."""

from tests.bench.main import main

if __name__ == "__main__":
    main()
