"""sisimai-reasons: why a host refused, told by its diagnostic alone, as a bounce reader names it.

The diagnostic is what Postfix puts into its log, so it is given to the rule tables of our
reasons: those of a refusal, and those of a deferral for full mailboxes, unknown hosts and lost
connections. "policy" stands for what we do not tell apart. Left out are names for things
that a diagnostic does not say: "filtered" (by the recipient, often as "User unknown"),
"expired", "onhold", "suspend", "hasmoved", system and mailer errors; and empty diagnostics.
"""

from collections.abc import Iterator
from pathlib import Path

from journal import status
from tests.score.check import Check, read_jsonl

_REFUSALS = {
    "userunknown": "unknown_user",
    "spamdetected": "spam",
    "virusdetected": "virus",
    "blocked": "blocklist",
    "badreputation": "blocklist",
    "norelaying": "relay_denied",
    "mesgtoobig": "size",
    "exceedlimit": "size",
    "rejected": "policy",
    "policyviolation": "policy",
    "securityerror": "policy",
    "authfailure": "policy",
    "requireptr": "policy",
    "notcompliantrfc": "policy",
    "contenterror": "policy",
}
_DEFERRALS = {
    "mailboxfull": "quota",
    "hostunknown": "dns",
    "networkerror": "connection",
}
_NO_LIST = "the text names no list and no reputation: any policy may have refused the client"
_ARGUED = {
    "lhost-domino-02": "the text is Japanese",
    "lhost-postfix-17": "a name server's reply was wrong: that is our dns",
    "lhost-postfix-46": "the text gives no reason",
    "lhost-postfix-50": _NO_LIST,
    "lhost-sendmail-10": _NO_LIST,
    "lhost-sendmail-44": "a header that is too large is a matter of size",
    "lhost-sendmail-56": _NO_LIST,
}
_OUR_WORD = {"temporary": "policy", "greylisted": "policy"}  # no list, no spam, nobody unknown


def checks(folder: Path) -> Iterator[Check]:
    """Each diagnostic that says something."""
    for case in read_jsonl(folder / "expected.jsonl"):
        reason = case["expect"]["reason"]
        text = (case["diagnostic"] or "").partition(";")[2].strip().encode()
        if not text:
            continue
        enhanced = (case["status"] or "").partition(" ")[0].encode()
        if reason in _REFUSALS:
            code = text[:3] if text[:3].isdigit() else b"550"
            got = status.refusal(code, enhanced, text)
            got = _OUR_WORD.get(got, got)
            argued = _ARGUED.get(case["case"], "")
            yield Check(case["case"], "reason", _REFUSALS[reason], got, argued)
        elif reason in _DEFERRALS:
            got = status.deferral(enhanced, text)
            argued = _ARGUED.get(case["case"], "")
            yield Check(case["case"], "reason", _DEFERRALS[reason], got, argued)
