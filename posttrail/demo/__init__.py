"""The demonstration: a private Postfix on loopback, and mails of every fate through it."""
