"""Conversations of an MTA with a milter as packets, and what chance makes of them.

The milter protocol, version 6: four bytes length, a command byte, data. The seeds are what Postfix and
Sendmail say. A mutation takes the packets of a conversation and gives others; ``wire`` makes bytes
of them, with lengths that are right unless a mutation set them.
"""

import random
import struct
from collections.abc import Callable
from typing import Final, NamedTuple


class Packet(NamedTuple):
    """One packet; ``length`` where it is not what it should be."""

    command: bytes
    data: bytes = b""
    length: int | None = None


Conversation = list[Packet]

EVERYTHING: Final = struct.pack(">III", 6, 0x1FF, 0x1FFFFF)
LONG: Final = 60_000  # a packet's most is 64 KiB by default


def _macros(stage: bytes, **values: bytes) -> Packet:
    pairs = b"".join(b"{%s}\0%s\0" % (name.encode(), value) for name, value in values.items())
    return Packet(b"D", stage + pairs.replace(b"{i}", b"i"))


def _greeting(name: bytes = b"mx.example.net", family: bytes = b"4") -> Conversation:
    address = b"192.0.2.1" if family == b"4" else b"IPv6:2001:db8::1"
    return [
        Packet(b"O", EVERYTHING),
        _macros(b"C", client_port=b"2525", client_addr=address, daemon_name=b"smtpd.example.com"),
        Packet(b"C", name + b"\0" + family + struct.pack(">H", 2525) + address + b"\0"),
        _macros(b"H", tls_version=b"TLSv1.3", cipher=b"TLS_AES_256_GCM_SHA384"),
        Packet(b"H", name + b"\0"),
    ]


def _message(queue_id: bytes, recipients: int = 2, fields: int = 6) -> Conversation:
    said = [
        _macros(b"M", i=queue_id, auth_authen=b"ann", auth_type=b"PLAIN"),
        Packet(b"M", b"<ann@example.com>\0SIZE=1234\0BODY=8BITMIME\0"),
    ]
    for number in range(recipients):
        mailer = b"error" if number % 2 else b"smtp"
        said += [
            _macros(b"R", rcpt_mailer=mailer, rcpt_host=b"5.1.1", rcpt_addr=b"no such user"),
            Packet(b"R", b"<r%d@example.org>\0NOTIFY=NEVER\0" % number),
        ]
    said += [_macros(b"T", i=queue_id), Packet(b"T")]
    names = (b"Subject", b"Message-ID", b"Received", b"Authentication-Results", b"X-Spamd-Result")
    values = (b"caf\xe9", b"<1@example.com>", b"from a by b", b"mx; dkim=pass", b"d: False [1 / 2]")
    for number in range(fields):
        said.append(Packet(b"L", names[number % 5] + b"\0" + values[number % 5] + b"\0"))
    return [*said, Packet(b"N"), Packet(b"B", b"x" * 500), _macros(b"E", i=queue_id), Packet(b"E")]


def seeds() -> list[Conversation]:
    """Sessions as they are meant."""
    plain, local = _greeting(), _greeting(b"localhost")
    abort, bye = Packet(b"A"), Packet(b"Q")
    return [
        [*plain, *_message(b"Q1"), *_message(b"Q2"), bye],
        [*plain, *_message(b"Q3")[:6], abort, *_message(b"Q4"), abort, abort, bye],
        [*_greeting(family=b"6"), *plain[3:], *_message(b"Q5"), Packet(b"K"), *plain[1:], bye],
        [*local[:1], Packet(b"C", b"localhost\0U"), *_message(b"Q6", 1, 0), bye],
        [*plain, Packet(b"U", b"XYZZY\0"), *_message(b"Q7", 3, 20), bye],
    ]


# -- mutations ------------------------------------------------------------------------------

Mutation = Callable[[random.Random, Conversation], Conversation]


def _at_one(change: Callable[[random.Random, Packet], Packet]) -> Mutation:
    """A mutation of one packet."""

    def mutation(chance: random.Random, said: Conversation) -> Conversation:
        place = chance.randrange(len(said))
        return [*said[:place], change(chance, said[place]), *said[place + 1 :]]

    return mutation


def _wrong_length(chance: random.Random, packet: Packet) -> Packet:
    right = len(packet.data) + 1
    lengths = (
        0,
        1,
        right - 1,
        right + 1,
        right + 300,
        1 << 16,
        1 << 20,
        (1 << 20) + 1,
        (1 << 32) - 1,
    )
    return packet._replace(length=chance.choice(lengths))


def _other_command(chance: random.Random, packet: Packet) -> Packet:
    return packet._replace(command=bytes([chance.randrange(256)]))


def _cut_data(chance: random.Random, packet: Packet) -> Packet:
    return packet._replace(data=packet.data[: chance.randrange(len(packet.data) + 1)])


def _nuls(chance: random.Random, packet: Packet) -> Packet:
    place = chance.randrange(len(packet.data) + 1)
    nuls = b"\0" * chance.choice((1, 2, 1000))
    return packet._replace(data=packet.data[:place] + nuls + packet.data[place:])


def _no_nuls(chance: random.Random, packet: Packet) -> Packet:
    return packet._replace(data=packet.data.replace(b"\0", b"", chance.choice((-1, 1))))


def _bytes(chance: random.Random, packet: Packet) -> Packet:
    data = bytearray(packet.data or b"\0")
    for _ in range(chance.randrange(1, 9)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return packet._replace(data=bytes(data))


def _long(chance: random.Random, packet: Packet) -> Packet:
    filler = chance.choice((b"x", b"\xff", b"\xe2\x82", b"<", b"x\0", b"\r\n\t"))
    return packet._replace(data=packet.data[:5] + filler * (LONG // len(filler)) + packet.data[5:])


def _bad_macros(chance: random.Random, said: Conversation) -> Conversation:
    stage = chance.choice((b"C", b"H", b"M", b"R", b"T", b"E", b"N", b"A", b"\0", b"", b"\xff"))
    text = chance.choice(
        (chance.randbytes(40), b"i\0caf\xe9\0", b"i", b"{}\0\0", b"i\0" * 3, b"{rcpt_addr}\0\xff\0",
         b"{client_port}\x001e9\0", "{client_port}\0\u0663\0".encode(), b"{tls_version}\0\r\n\0")
    )  # fmt: skip
    place = chance.randrange(1, len(said) + 1)
    return [*said[:place], Packet(b"D", stage + text), *said[place:]]


def _bad_offer(chance: random.Random, said: Conversation) -> Conversation:
    version = chance.choice((0, 1, 2, 5, 6, 7, (1 << 32) - 1))
    offers = (0, 0x3F, 0x7F, 0x1FF, 0x1FFFFF, (1 << 32) - 1)
    data = struct.pack(">III", version, chance.choice(offers), chance.choice(offers))
    data = chance.choice((data, data, data[: chance.randrange(12)], data + chance.randbytes(30)))
    return [Packet(b"O", data), *said[chance.choice((0, 1, 1, 1)) :]]


def _bad_client(chance: random.Random, said: Conversation) -> Conversation:
    clients = (
        b"", b"\0", b"mx\0", b"mx\x004", b"mx\x004\0", b"mx\x004\x09\xddnot.an.address\0",
        b"mx\x006\x09\xddIPv6:\0", b"mx\0L\0\0/some/path\0", b"mx\0U", b"mx\0?\0\0\0", b"\xff\xfe\x00U",
    )  # fmt: skip
    found = [packet for packet in said if packet.command != b"C"]
    return [found[0], Packet(b"C", chance.choice(clients)), *found[1:]]


def _order(chance: random.Random, said: Conversation) -> Conversation:
    begin, size = chance.randrange(len(said)), chance.randrange(1, 9)
    piece = said[begin : begin + size]
    rest = said[:begin] + said[begin + size :]
    place = chance.randrange(len(rest) + 1)
    return chance.choice(
        (rest, [*rest[:place], *piece, *rest[place:]], said + piece, chance.sample(said, len(said)))
    ) or [Packet(b"Q")]  # fmt: skip


def _crowd(chance: random.Random, said: Conversation) -> Conversation:
    many = chance.choice(((1000, 6), (2, 2000), (300, 300)))
    return [*_greeting(), *_message(b"CROWD", *many), *said[5:]]


MUTATIONS: Final[tuple[Mutation, ...]] = (
    *map(_at_one, (_wrong_length, _other_command, _cut_data, _nuls, _no_nuls, _bytes, _long)),
    _bad_macros, _bad_offer, _bad_client, _order,
)  # fmt: skip
CROWD_EVERY: Final = 50
HEAD: Final = 5  # a packet's length and command


def mutated(chance: random.Random, number: int) -> bytes:
    """What the MTA of a broken conversation writes, all at once."""
    while True:
        said = chance.choice(seeds())
        if number % CROWD_EVERY == 0:
            said = _crowd(chance, said)
        for _ in range(chance.randrange(1, 4)):
            said = chance.choice(MUTATIONS)(chance, said)
        written = wire(said)
        if chance.random() < 0.2:
            written = written[: chance.randrange(len(written))]
        if not kills_libmilter(written):
            return written


def kills_libmilter(written: bytes) -> bool:
    """Whether macros come as an odd number of strings: the one thing that is left out.

    libmilter 8.17 then reads beyond its list of them (smfi_getsymval), and any milter, one of plain
    C too, may end by a signal. No MTA says such a thing, and nobody else may open the socket.
    """
    while len(written) >= HEAD:
        length = max(struct.unpack_from(">I", written)[0], 1)  # the command is always read
        packet, written = written[4 : 4 + length], written[4 + length :]
        if packet[:1] == b"D" and packet.count(b"\0", 2) % 2:
            return True
    return False


def wire(said: Conversation) -> bytes:
    """The bytes of packets."""
    return b"".join(
        struct.pack(">I", len(packet.data) + 1 if packet.length is None else packet.length)
        + packet.command
        + packet.data
        for packet in said
    )
