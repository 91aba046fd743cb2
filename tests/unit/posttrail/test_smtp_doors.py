"""The services of master.cf at which a mail can be handed over from this machine."""

import pytest

from posttrail.postconf import Service, Settings
from posttrail.smtp_doors import Door, door

OWN_LIST = {"smtpd_milters": "inet:x:1"}
PASSED = {"receive_override_options": "no_milters"}
TLS = {"smtpd_tls_wrappermode": "yes"}


@pytest.mark.parametrize(
    ("services", "found"),
    [
        ([], None),
        ([("smtp", {})], Door("127.0.0.1", 25)),
        ([("smtp", {}), ("submission", {})], Door("127.0.0.1", 25)),
        ([("submission", {}), ("465", {}), ("2525", {})], Door("127.0.0.1", 2525)),
        ([("127.0.0.2:2525", PASSED), ("smtp", {})], Door("127.0.0.1", 25)),
        ([("2525", OWN_LIST), ("2526", {})], Door("127.0.0.1", 2526)),
        ([("smtps", {}), ("2465", TLS)], None),
        ([("192.0.2.5:2525", {})], Door("192.0.2.5", 2525)),
        ([("[::1]:25", {})], Door("::1", 25)),
        ([("0.0.0.0:26", {})], Door("127.0.0.1", 26)),
        ([("no-such-service-name", {})], None),
    ],
)
def test_a_mail_goes_in_where_this_machine_may_send(
    services: list[tuple[str, dict[str, str]]], found: Door | None
) -> None:
    settings = Settings(
        main={"inet_interfaces": "all"},
        services=tuple(service(name) for name, _ in services),
        overrides={f"{name}/inet": own for name, own in services if own},
    )
    assert door(settings) == found


def test_a_screen_before_smtpd_is_a_door_and_another_protocol_is_none() -> None:
    services = (service("628", "qmqpd"), service("smtp", "postscreen"))
    assert door(Settings(main={}, services=services)) == Door("127.0.0.1", 25)


def service(name: str, command: str = "smtpd") -> Service:
    return Service(name, "inet", "n", "-", "n", "-", command, ())
