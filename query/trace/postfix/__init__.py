"""How Postfix decides: its settings, its tables, its order."""
