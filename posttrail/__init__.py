"""What every posttrail program shares: configuration, errors, logs, the verb table."""

__version__ = "0.1.0"
