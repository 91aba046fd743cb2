"""Understand filters that log one line for a verdict.

Formats, each by its program's source: rspamd (rspamd_task_write_log), SpamAssassin's spamd (its
``result:`` line), opendkim, opendmarc, policyd-spf in Python and in Perl, clamav-milter, clamsmtpd
and postgrey. What Postfix then does with the message (milter-reject, milter-hold, reject) is
Postfix's to say, so a milter's verdict is ``accept``, as those of milterd.headers. Raises nothing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from milterd.lines import verdicts
from milterd.lines.scan import UNKNOWN, Parsed, address_end, after_colon, queue_id_end
from milterd.lines.syslog import Line
from milterd.lines.verdicts import ACCEPT, DISCARD, REJECT, TEMPFAIL, bare, values, verdict

# -- rspamd --------------------------------------------------------------------------------

_SCANNED: Final = b"rspamd_task_write_log: "
_RESULT: Final = re.compile(rb"\([\w-]+: [TF] \(([a-z ]+)\): \[(-?\d+\.\d+|-?nan)/")
_RSPAMD_ACTIONS: Final = {
    b"no action": (ACCEPT, b"ham"),
    b"greylist": (TEMPFAIL, b"greylisted"),
    b"soft reject": (TEMPFAIL, b"spam"),
    b"add header": (ACCEPT, b"spam"),
    b"rewrite subject": (ACCEPT, b"spam"),
    b"quarantine": (verdicts.QUARANTINE, b"spam"),
    b"discard": (DISCARD, b"spam"),
    b"reject": (REJECT, b"spam"),
}


def rspamd(line: Line) -> Parsed:
    """``<TAG>; task; rspamd_task_write_log: id: <M>, qid: <Q>, ip: I, from: <S>, (default: ...``.

    The Message-ID stands first, and only its sender knows what is in it: a line with two queue
    ids or two results is not believed.
    """
    text = line.text
    at = text.find(_SCANNED, 0, 128)
    if at < 0:
        return None
    at += len(_SCANNED)
    results = list(_RESULT.finditer(text, at))
    if not text.startswith(b"id: <", at) or len(results) != 1 or text.count(b">, qid: <") > 1:
        return UNKNOWN
    action = _RSPAMD_ACTIONS.get(results[0][1])
    message_id, found, rest = text[at + 5 : results[0].start()].partition(b">, qid: <")
    if not found:
        message_id, found, rest = message_id.partition(b">, ")
        rest = b">, " + rest
    queue_id, _, rest = rest.partition(b">, ")
    if action is None or not found:
        return UNKNOWN
    ip, sender = _ip_and_sender(rest)
    return verdict(
        line,
        queue_id if queue_id.isalnum() else b"",
        (b"rspamd", *action),
        score=results[0][2],
        evidence=text[at:],
        message_id=b"" if message_id == b"undef" else message_id,
        client_ip=ip,
        sender=sender,
    )


def _ip_and_sender(text: bytes) -> tuple[bytes, bytes]:
    """The values of ``ip: I, user: U, from: <S>, ``, each where it is."""
    ip = b""
    if text.startswith(b"ip: "):
        ip, _, text = text[4:].partition(b", ")
    if text.startswith(b"user: "):
        text = text.partition(b", ")[2]
    end = address_end(text, 6) if text.startswith(b"from: <") else -1
    return ip, text[7:end] if end >= 0 else b""


# -- SpamAssassin --------------------------------------------------------------------------

_SPAMD: Final = re.compile(rb"(?:spamd: )?result: ([Y.]) +(-?\d+) - ([^ ]*) ")


def spamd(line: Line) -> Parsed:
    """``spamd: result: Y 9 - TEST,TEST scantime=0.8,...,mid=<M>,...``.

    The line before ("identified spam (9.3/5.0) for USER") names no message.
    """
    told = _SPAMD.match(line.text)
    if told is None:
        return None
    pairs = values(line.text.replace(b",", b", "), told.end())  # none can hold a comma or a blank
    message_id = bare(pairs.get(b"mid", b""))
    return verdict(
        line,
        b"",
        (b"spamassassin", ACCEPT, b"spam" if told[1] == b"Y" else b"ham"),
        score=told[2],
        message_id=b"" if message_id in (b"unknown", b"(unknown)") else message_id,
    )


# -- DKIM, DMARC, SPF ----------------------------------------------------------------------

_DKIM: Final = (
    (b"DKIM verification successful", b"pass"),
    (b"bad signature data", b"fail"),
    (b"DKIM-Signature field added", b"signed"),
    (b"no signature data", b"none"),
    (b"key retrieval failed", b"temperror"),
    (b"syntax error", b"permerror"),
    (b"signature processing failed", b"permerror"),
)
_RESULTS: Final = frozenset(
    b"pass fail softfail neutral none temperror permerror policy reject quarantine".split()
)


def opendkim(line: Line) -> Parsed:
    """``QID: DKIM-Signature field added (s=S, d=D)`` and what it says of others' signatures."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0:
        return None
    begin = after_colon(text, colon)
    for words, reason in _DKIM:
        if text.startswith(words, begin):
            said = (b"opendkim", ACCEPT, reason)
            return verdict(line, text[:colon], said, evidence=text[begin:])
    return None


def opendmarc(line: Line) -> Parsed:
    """``QID: DOMAIN RESULT``."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0:
        return None
    begin = after_colon(text, colon)
    words = text[begin:].split(b" ")
    if len(words) != 2 or words[1] not in _RESULTS or words[0].endswith(b":"):
        return None
    said = (b"opendmarc", ACCEPT, words[1])
    return verdict(line, text[:colon], said, evidence=text[begin:])


_SPF: Final = re.compile(rb"(?:prepend )?(?:Received-SPF: )?([A-Za-z]{4,9}) ?(?:\([^()]*\)|;) ")
_SPF_PERL: Final = re.compile(rb"SPF ([a-z]+)[^:]*: (?:Envelope-from|HELO/EHLO[^:]*): ")


def policyd_spf(line: Line) -> Parsed:
    """``prepend Received-SPF: Pass (mailfrom) identity=I; client-ip=A; ...; envelope-from=S; ...``.

    Values stand in quotes where they hold more than plain letters (RFC 7208 9.1); one with
    a separator inside is not one of ours.
    """
    text = line.text
    told = _SPF.match(text)
    if told is None or told[1].lower() not in _RESULTS:
        return _perl_spf(line)
    pairs = values(text, told.end())
    if text.count(b"client-ip=") != 1 or text.count(b"envelope-from=") != 1:
        return None
    return verdict(
        line,
        b"",
        (b"spf", ACCEPT, told[1].lower()),
        client_ip=pairs.get(b"client-ip", b""),
        sender=pairs.get(b"envelope-from", b"").strip(b'"<>'),
    )


def _perl_spf(line: Line) -> Parsed:
    """``SPF pass (Mechanism ...): Envelope-from: S, IP Address: A, Recipient: R``."""
    text = line.text
    told = _SPF_PERL.match(text)
    parts = text[told.end() :].split(b", ") if told else []
    if told is None or told[1] not in _RESULTS or len(parts) != 3:
        return None
    sender, address, recipient = parts
    if not address.startswith(b"IP Address: ") or not recipient.startswith(b"Recipient: "):
        return None
    return verdict(
        line,
        b"",
        (b"spf", ACCEPT, told[1]),
        client_ip=address[12:],
        sender=sender if b"Envelope-from: " in told[0] else b"",
        recipient=recipient[11:],
    )


# -- viruses -------------------------------------------------------------------------------

_CLAMSMTP: Final = re.compile(rb"[0-9A-F]{6}: from=")


def clamav_milter(line: Line) -> Parsed:
    """``Message QID from <S> to <R> with subject 'T' message-id 'M' date 'D' infected by V``.

    With LogInfected = basic there is no queue id, and with LogClean clean ones are told, too.
    """
    text = line.text
    clean = text.startswith(b"Clean message ")
    if not clean and not text.startswith(b"Message "):
        return None
    at = 14 if clean else 8
    queue_id = b""
    if not text.startswith(b"from <", at):
        queue_id, _, _ = text[at:].partition(b" ")
        at += len(queue_id) + 1
    end = address_end(text, at + 5) if text.startswith(b"from <", at) else -1
    if end < 0 or not text.startswith(b" to <", end + 1):
        return UNKNOWN
    sender = text[at + 6 : end]
    last = address_end(text, end + 5)
    recipients = text[end + 6 : last] if last >= 0 else b""
    return verdict(
        line,
        queue_id if queue_id.isalnum() else b"",
        (b"clamav", ACCEPT, b"clean" if clean else b"virus"),
        sender=sender,
        recipient=b"" if b"," in recipients else recipients,
    )


def clamsmtpd(line: Line) -> Parsed:
    """``10000A: from=S, to=R, to=R, status=CLEAN`` or ``status=VIRUS:NAME``."""
    text = line.text
    if _CLAMSMTP.match(text) is None:
        return None
    names, found, status = text[8:].rpartition(b", status=")
    sender, *recipients = names.split(b", to=")
    if not found or not status.startswith((b"CLEAN", b"VIRUS")):
        return None
    clean = status.startswith(b"CLEAN")
    return verdict(
        line,
        b"",
        (b"clamsmtp", ACCEPT if clean else DISCARD, b"clean" if clean else b"virus"),
        sender=sender[5:],
        recipient=recipients[0] if len(recipients) == 1 else b"",
    )


# -- greylisting ---------------------------------------------------------------------------


def postgrey(line: Line) -> Parsed:
    """``[QID: ]action=A, reason=T, client_name=N, client_address=I, sender=S, recipient=R``."""
    text = line.text
    colon = queue_id_end(text)
    queue_id, begin = (text[:colon], after_colon(text, colon)) if colon >= 0 else (b"", 0)
    if not text.startswith(b"action=", begin) or text.count(b"client_address=") != 1:
        return None
    sender_at = text.find(b", sender=", begin)
    recipient_at = text.rfind(b", recipient=")
    pairs = values(text[: sender_at if sender_at >= 0 else recipient_at], begin)
    waits = pairs.get(b"action") == b"greylist"
    said = (TEMPFAIL, b"greylisted") if waits else (ACCEPT, b"pass")
    return verdict(
        line,
        queue_id,
        (b"postgrey", *said),
        client_ip=pairs.get(b"client_address", b"").partition(b"/")[0],
        sender=text[sender_at + 9 : recipient_at] if 0 <= sender_at < recipient_at else b"",
        recipient=text[recipient_at + 12 :] if recipient_at >= 0 else b"",
        evidence=text[begin:],
    )


PARSERS: Final[Mapping[bytes, Callable[[Line], Parsed]]] = {
    b"rspamd": rspamd,
    b"spamd": spamd,
    b"spamd-child": spamd,
    b"opendkim": opendkim,
    b"opendmarc": opendmarc,
    b"policyd-spf": policyd_spf,
    b"policy-spf": policyd_spf,
    b"clamav-milter": clamav_milter,
    b"clamsmtpd": clamsmtpd,
    b"clamsmtp": clamsmtpd,
    b"postgrey": postgrey,
}
"""Each program's parser, by the last part of its tag."""
