"""The readers: scope, search, rows, and the verbs that show them."""
