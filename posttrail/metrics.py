"""Every metric of posttrail: its name, type, meaning, and the values that its labels may have.

Prometheus text format 0.0.4 and its rules for names: base units, ``_total`` for what only
grows. Labels come from the closed sets here, never from mail: what is not declared is not
exported (query/httpd/metrics.py), so the number of series is constant. posttrail-queryd(8)
lists them, and a test holds the list. Pure; raises nothing.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import accumulate
from typing import Final, NamedTuple


class Kind(Enum):
    """The types of Prometheus that we use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


Labels = Mapping[str, tuple[str, ...]]


class Family(NamedTuple):
    """A metric: its samples differ in their labels alone."""

    name: str
    kind: Kind
    help: str
    labels: Labels = {}  # noqa: RUF012 - never changed; a tuple's default is shared anyway
    buckets: tuple[float, ...] = ()  # of a histogram: upper bounds, in seconds


DIRECTIONS: Final = ("inbound", "outbound", "internal", "unknown")
FINAL: Final = ("delivered", "error", "rejected", "filtered")
ACCEPTED: Final = ("delivered", "error", "filtered")
PENDING: Final = ("in_progress", "deferred")
DEFERRALS: Final = ("greylisted", "connection", "dns", "quota", "suspended", "other")
ERRORS: Final = ("bounced", "expired", "looped", "deleted", "late_bounce")
REFUSALS: Final = (
    "policy", "blocklist", "unknown_user", "relay_denied", "spam", "virus", "size", "greylisted",
    "temporary",
)  # fmt: skip
FILTERED: Final = ("junk", "quarantined", "discarded")
SOURCES: Final = ("milter", "log", "journald", "import")
GAPS: Final = (
    "not_running", "milter_unreachable", "rotated_away", "rate_limited", "truncated", "overflow",
    "other",
)  # fmt: skip
FOLLOWED: Final = ("spool", "log", "syslog", "journald")
PROGRAMS: Final = ("milterd", "trackd", "queryd", "traced", "hookd")
CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
OUTCOMES: Final = ("taken", "failed", "given_up")
VERDICTS: Final = (
    "ok", "discarded", "unknown", "temporary", "permanent", "loop", "rejected_at_smtp", "failed",
)  # fmt: skip
ANSWERERS: Final = ("mta", "computed", "dns", "history", "probe", "none")
ROUTES: Final = (
    "/", "/message/{id}", "/summary", "/trace", "/static/{name}", "/link/{token}", "/logout",
    "/v1/messages", "/v1/messages/{id}", "/v1/stats", "/v1/days", "/v1/summary", "/v1/never",
    "/v1/coverage", "/v1/explain", "/v1/trace", "/v1/links", "/v1/audit", "/v1/events",
    "/healthz", "/readyz", "/openapi.json", "/metrics", "/metrics/domains", "none",
)  # fmt: skip

DELAYS_S: Final = (1.0, 5.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0)
QUERIES_S: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
COMMITS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

JOURNAL: Final = (
    Family(
        "posttrail_recipients_total", _C,
        "Recipients whose fate is final; each counts once.",
        {"status": FINAL, "direction": DIRECTIONS},
    ),
    Family(
        "posttrail_recipients_revised", _G,
        "How many of posttrail_recipients_total later proved to be something else.",
        {"status": FINAL, "direction": DIRECTIONS},
    ),
    Family(
        "posttrail_recipients", _G, "Recipients that wait for their fate.", {"status": PENDING}
    ),
    Family(
        "posttrail_delivery_duration_seconds", _H,
        "From acceptance to the final fate; each accepted recipient counts once.",
        {"status": ACCEPTED, "direction": DIRECTIONS}, DELAYS_S,
    ),
    Family(
        "posttrail_rejected_total", _C, "Recipients refused at the SMTP door.",
        {"reason": REFUSALS},
    ),
    Family(
        "posttrail_errors_total", _C, "Recipients that failed after acceptance.",
        {"reason": ERRORS},
    ),
    Family(
        "posttrail_filtered_total", _C, "Recipients whose mail was kept from the inbox.",
        {"reason": FILTERED},
    ),
    Family(
        "posttrail_deferred_recipients", _G, "Recipients whose last try failed for now.",
        {"reason": DEFERRALS},
    ),
    Family(
        "posttrail_abandoned_messages", _G,
        "Transactions in the counters that their clients gave up before any recipient.",
    ),
    Family(
        "posttrail_coverage_seconds", _G,
        "Time in the journal's span in which a source was recorded without a gap.",
        {"source": SOURCES},
    ),
    Family(
        "posttrail_coverage_end_timestamp_seconds", _G,
        "Until when a source is known to be recorded; no sample before it ever was.",
        {"source": SOURCES},
    ),
    Family(
        "posttrail_coverage_gaps", _G, "Gaps in the journal's span.",
        {"source": SOURCES, "reason": GAPS},
    ),
    Family(
        "posttrail_coverage_gap_seconds", _G, "Time in the journal's span that gaps take.",
        {"source": SOURCES, "reason": GAPS},
    ),
    Family("posttrail_coverage_lost_lines", _G, "Lines that are known to be missing.",
           {"source": SOURCES}),
    Family("posttrail_journal_readable", _G, "1 where the journal can be read."),
    Family("posttrail_journal_change", _G, "Number of the journal's last change."),
    Family("posttrail_journal_bytes", _G, "Bytes on disk of the whole journal."),
    Family("posttrail_journal_parts", _G, "Days in the journal."),
    Family("posttrail_journal_parts_aside", _G,
           "Parts put aside as damaged, and not built again yet."),
    Family("posttrail_journal_largest_bytes", _G, "Bytes of the largest day's file."),
    Family("posttrail_journal_map_bytes", _G, "Bytes that a day's file may grow to."),
    Family("posttrail_journal_disk_bytes", _G, "Size of the file system the journal is on."),
    Family("posttrail_journal_disk_free_bytes", _G,
           "Room that is left for us on the file system the journal is on."),
)  # fmt: skip

EXPORTER: Final = (
    Family(
        "posttrail_counters_kept", _G,
        "1 where the counters outlast a restart: posttrail-queryd's state can be written.",
    ),
    Family("posttrail_build_info", _G, "Always 1; the label is the release.", {"version": ()}),
    Family(
        "posttrail_gauges_age_seconds", _G,
        "Age of the file that a program writes every 5 s; no sample before it ever did.",
        {"program": PROGRAMS},
    ),
    Family(
        "posttrail_query_duration_seconds", _H, "Time that answers take.",
        {"route": ROUTES}, QUERIES_S,
    ),
    Family("posttrail_trace_total", _C, "Traces asked for: what they said, and who said so.",
           {"verdict": VERDICTS, "source": ANSWERERS}),
)  # fmt: skip

MILTERD: Final = (
    Family("posttrail_milter_connections_total", _C, "SMTP sessions seen."),
    Family("posttrail_milter_records_total", _C, "Records written to the spool."),
    Family("posttrail_milter_lost_records_total", _C, "Records that found the queue full."),
    Family("posttrail_milter_callback_failures_total", _C,
           "Exceptions in callbacks; each was answered CONTINUE."),
    Family("posttrail_milter_queue_records", _G, "Records that wait for the disk."),
    Family("posttrail_milter_queue_bytes", _G, "Bytes of records that wait for the disk."),
    Family("posttrail_milter_open_transactions", _G, "Transactions under way."),
    Family("posttrail_milter_open_bytes", _G, "Bytes they hold for long headers, 64 MiB at most."),
    Family("posttrail_milter_dropped_fields_total", _C,
           "Header fields that were not kept, for want of memory."),
    Family("posttrail_milter_unwritten_bytes", _G, "Bytes that a full disk holds back."),
    Family("posttrail_milter_spool_failing", _G, "1 while the spool cannot be written."),
    Family("posttrail_milter_spool_bytes", _G, "Bytes of the spool on disk."),
    Family("posttrail_milter_heartbeat_seconds", _G,
           "When the newest heartbeat was written to the spool, in seconds since 1970."),
)  # fmt: skip

TRACKD: Final = (
    Family("posttrail_trackd_open_messages", _G, "Messages held in memory."),
    Family("posttrail_trackd_silent_messages", _G,
           "Accepted messages without an outcome of which nothing was heard for silent_minutes."),
    Family("posttrail_trackd_lines_total", _C, "Lines read.", {"source": FOLLOWED}),
    Family("posttrail_trackd_unknown_lines_total", _C, "Lines of mail that were not understood."),
    Family("posttrail_trackd_forged_lines_total", _C,
           "Lines that claimed to be a mail program's and were not believed."),
    Family("posttrail_trackd_damaged_spool_lines_total", _C,
           "Records of the spool whose checksum did not fit."),
    Family("posttrail_trackd_received_lines_total", _C, "Lines received from syslog."),
    Family("posttrail_trackd_dropped_lines_total", _C, "Lines received and not kept."),
    Family("posttrail_trackd_lag_seconds", _G,
           "How old the newest line read is, where there is more to read; else 0.",
           {"source": FOLLOWED}),
    Family("posttrail_trackd_disk_full", _G, "1 while the journal cannot be written."),
    Family("posttrail_trackd_commit_duration_seconds", _H, "Time that commits take.", {},
           COMMITS_S),
)  # fmt: skip

QUERYD: Final = (
    Family("posttrail_queryd_requests_total", _C, "Requests answered, by class of status.",
           {"class": CLASSES}),
    Family("posttrail_queryd_streams", _G, "Live streams that are open."),
    Family("posttrail_queryd_parts_excluded", _G, "Days left out because they killed a reader."),
    Family("posttrail_queryd_written_seconds", _G,
           "When these were written, in seconds since 1970."),
)  # fmt: skip

TRACED: Final = (
    Family("posttrail_traced_answered_requests_total", _C, "Traces answered."),
    Family("posttrail_traced_refused_requests_total", _C, "Requests refused."),
    Family("posttrail_traced_failed_requests_total", _C, "Traces that failed."),
    Family("posttrail_traced_busy_workers", _G, "Traces under way."),
)  # fmt: skip

HOOKD: Final = (
    Family("posttrail_hookd_calls_total", _C, "Calls made.", {"outcome": OUTCOMES}),
    Family("posttrail_hookd_waiting", _G, "Calls that are still to be made."),
    Family("posttrail_hookd_dead", _G, "Calls given up."),
    Family("posttrail_hookd_oldest_seconds", _G, "How long the oldest call has waited."),
    Family("posttrail_hookd_off", _G, "Hooks that 410 turned off."),
    Family("posttrail_hookd_changes_behind", _G,
           "Change numbers of the journal that the last hook is behind."),
    Family("posttrail_hookd_written_seconds", _G,
           "When these were written, in seconds since 1970."),
)  # fmt: skip

WRITTEN: Final[Mapping[str, tuple[Family, ...]]] = {
    "milterd": MILTERD,
    "trackd": TRACKD,
    "queryd": QUERYD,
    "traced": TRACED,
    "hookd": HOOKD,
}
"""What each program may say in its file."""

DOMAINS: Final = (
    Family(
        "posttrail_domain_messages", _G,
        "Messages of the last 24 hours to a domain of query.metrics_domains, by worst status.",
        {"domain": (), "status": (*FINAL, *PENDING)},
    ),
)  # fmt: skip
"""Behind a token; the domains are those of the configuration."""

FAMILIES: Final = (*JOURNAL, *EXPORTER, *MILTERD, *TRACKD, *QUERYD, *TRACED, *HOOKD, *DOMAINS)
BY_NAME: Final = {family.name: family for family in FAMILIES}
"""All."""


def family_of(sample: str) -> Family | None:
    """The family of a sample's name, which may be a part of a histogram."""
    found = BY_NAME.get(sample)
    if found is not None:
        return found
    stem, _, part = sample.rpartition("_")
    found = BY_NAME.get(stem) if part in ("bucket", "sum", "count") else None
    return found if found is not None and found.kind is Kind.HISTOGRAM else None


class Histogram:
    """Observed by one thread at a time; a lost update between threads would be one off."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # not added up
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, int]]:
        """How many took at most so long, for each bound as ``le`` spells it, and for +Inf."""
        bounds = map(le, (*self.bounds, float("inf")))
        return list(zip(bounds, accumulate(self.counts), strict=True))

    def samples(self, name: str) -> dict[str, float]:
        """As the text format has them: buckets added up, sum and count."""
        added = self.cumulative()
        told = {f'{name}_bucket{{le="{bound}"}}': float(count) for bound, count in added}
        return told | {f"{name}_sum": self.sum, f"{name}_count": added[-1][1]}


def le(bound: float) -> str:
    """A bound as Prometheus spells it: 0.5, 60.0, +Inf."""
    return "+Inf" if bound == float("inf") else repr(float(bound))
