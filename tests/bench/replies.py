"""What other servers and our own say when mail does not go through: (reason, code, text)."""

from typing import Final

TEMPORARY: Final = (
    ("other", "4.2.0", "host {relay} said: 451 4.2.0 Try again later "
                       "(in reply to RCPT TO command)"),
    ("greylisted", "4.7.1", "host {relay} said: 450 4.7.1 <{to}>: Recipient address rejected: "
                            "Greylisted (in reply to RCPT TO command)"),
    ("connection", "4.4.1", "connect to {relay}:25: Connection timed out"),
    ("quota", "4.2.2", "host {relay} said: 452 4.2.2 Mailbox full (in reply to RCPT TO command)"),
    ("dns", "4.4.3", "Host or domain name not found. Name service error for name={domain} "
                     "type=MX: Host not found, try again"),
)  # fmt: skip
PERMANENT: Final = (
    ("5.1.1", "host {relay} said: 550 5.1.1 <{to}>: Recipient address rejected: User unknown in "
              "virtual mailbox table (in reply to RCPT TO command)"),
    ("5.7.1", "host {relay} said: 554 5.7.1 Message refused by policy "
              "(in reply to end of DATA command)"),
    ("5.4.4", "Host or domain name not found. Name service error for name={domain} type=AAAA: "
              "Host not found"),
)  # fmt: skip
REFUSALS: Final = (
    ("unknown_user", "550 5.1.1 <{to}>: Recipient address rejected: User unknown in virtual "
                     "mailbox table"),
    ("blocklist", "554 5.7.1 Service unavailable; Client host [{ip}] blocked using "
                  "zen.blocklist.test"),
    ("greylisted", "450 4.2.0 <{to}>: Recipient address rejected: Greylisted"),
    ("relay_denied", "454 4.7.1 <{to}>: Relay access denied"),
    ("policy", "550 5.7.1 <{from_}>: Sender address rejected: Access denied"),
)  # fmt: skip
