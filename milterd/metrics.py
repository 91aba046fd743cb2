"""The numbers of posttrail-milterd, as it writes them to ``milterd.prom``.

posttrail/metrics.py declares them. They count from the start of the process and say how capture
itself is doing; counters of mail come from the journal. Raises nothing.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counted where things happen; a lost update between threads would be one off, no more."""

    connections: int = 0
    records: int = 0  # written to the spool
    lost: int = 0  # records that found the queue full
    failures: int = 0  # exceptions in callbacks, each answered CONTINUE
    queue_records: int = 0
    queue_bytes: int = 0
    open_transactions: int = 0
    open_bytes: int = 0  # that these hold for long headers
    dropped_fields: int = 0  # for which there was no room
    unwritten_bytes: int = 0
    spool_bytes: int = 0  # on disk
    failing: int = 0  # 1 while the spool cannot be written
    written_at_us: int = 0  # of the newest heartbeat in the spool

    def gauges(self) -> dict[str, float]:
        """By their exported names."""
        return {
            "posttrail_milter_connections_total": self.connections,
            "posttrail_milter_records_total": self.records,
            "posttrail_milter_lost_records_total": self.lost,
            "posttrail_milter_callback_failures_total": self.failures,
            "posttrail_milter_queue_records": self.queue_records,
            "posttrail_milter_queue_bytes": self.queue_bytes,
            "posttrail_milter_open_transactions": self.open_transactions,
            "posttrail_milter_open_bytes": self.open_bytes,
            "posttrail_milter_dropped_fields_total": self.dropped_fields,
            "posttrail_milter_unwritten_bytes": self.unwritten_bytes,
            "posttrail_milter_spool_bytes": self.spool_bytes,
            "posttrail_milter_spool_failing": self.failing,
            "posttrail_milter_heartbeat_seconds": self.written_at_us / 1e6,
        }
