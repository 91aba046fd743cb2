"""The lists of restrictions of smtpd(8): which there are, and how one is read.

Names are those of postconf(5), section SMTPD_ACCESS_README. Pure; raises nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from query.trace.postfix.world import SettingsLike

LISTS: Final = {  # the list → what a table that stands there alone is
    "smtpd_client_restrictions": "check_client_access",
    "smtpd_helo_restrictions": "check_helo_access",
    "smtpd_sender_restrictions": "check_sender_access",
    "smtpd_relay_restrictions": "check_recipient_access",
    "smtpd_recipient_restrictions": "check_recipient_access",
}
PROVEN: Final = frozenset({
    "permit_mynetworks",
    "permit_sasl_authenticated",
    "permit_tls_clientcerts",
    "permit_tls_all_clientcerts",
    "permit_inet_interfaces",
})  # fmt: skip
WITH_ARGUMENT: Final = ("check_policy_service", "reject_rbl_client", "permit_dnswl_client",
                         "permit_rhswl_client", "reject_rhsbl_", "sleep")  # fmt: skip


def access_tables(settings: SettingsLike, service: str) -> Iterator[str]:
    """The tables that a recipient is looked up in at the door, without those of classes."""
    for name, default in LISTS.items():
        for restriction, argument in restrictions(settings.words(name, service), default):
            if restriction.lower() == "check_recipient_access":
                yield argument


def restrictions(words: Sequence[str], default: str) -> Iterator[tuple[str, str]]:
    """Each restriction with its argument; a table alone is looked up as the list's own."""
    waiting = iter(words)
    for word in waiting:
        lower = word.lower()
        takes = lower.endswith("_access") or lower.startswith(WITH_ARGUMENT)
        if (lower.startswith("check_") and takes) or lower.startswith(WITH_ARGUMENT):
            yield word, next(waiting, "")
        elif ":" in word and not word.startswith("{"):
            yield default, word
        else:
            yield word, ""
