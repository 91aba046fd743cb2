"""`posttrail demo`: a private Postfix on loopback with our programs, sinks and mails of every fate."""
