"""The reading verbs as users call them: streams, exit codes, and JSON that keeps to its schema."""

import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource

from journal import keys, store
from journal.events import Kind, Source
from journal.records import REASONS, Direction, Gap, Status
from posttrail import cli, text
from query.rows import FIELDS
from tests.unit.query.conftest import NOON_US, row
from tests.unit.query.test_show import EVENTS, ROWS

if TYPE_CHECKING:
    from tests.unit.query.conftest import Run, Shelf

SCHEMAS = Path(__file__).resolve().parents[3] / "docs" / "schema"
EVIL = b"=\x1b[2J\xc2\x9b\xe2\x80\xae\xff\r\n"
SECOND_US = 1_000_000


def validate(name: str, value: object) -> None:
    contents = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    resources = [(each, Resource.from_contents(schema)) for each, schema in contents.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    schema = contents[f"{name}.json"]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, registry=registry).validate(value)


@pytest.fixture
def filled(shelf: "Shelf") -> "Shelf":
    """Two days: a message with evidence, one of every status, one that is nothing but hostile."""
    shelf.put(*ROWS, events=EVENTS)
    for number, status in enumerate(Status):
        shelf.put(row(status=status), at_us=NOON_US - (number + 1) * SECOND_US)
    shelf.put(
        row(
            EVIL, final_recipient=EVIL, reply=EVIL, folder=EVIL, relay=EVIL, enhanced_status=EVIL,
            direction=None, done_at_us=None, delay_ms=None, reply_code=None,
        ),
        at_us=NOON_US + 86_400 * SECOND_US,
        queue_ids=(EVIL, b"EVIL"), sender=EVIL, message_id=EVIL, subject=EVIL, client_ip=EVIL,
        client_name=EVIL, helo=EVIL, login=EVIL, tls=EVIL, host=EVIL, spam_score=None,
        events=tuple(event._replace(queue_id=EVIL) for event in EVENTS),
    )  # fmt: skip
    shelf.put(
        row(None, final_recipient=None, status=Status.REJECTED, reason="policy", reply=None),
        queue_ids=(), sender=None, size_bytes=None, message_id=None, subject=None, client_ip=None,
        client_name=None, client_port=None, helo=None, tls=None, spam_score=None,
    )  # fmt: skip
    shelf.writer.extend("log", NOON_US, NOON_US + 60 * SECOND_US)
    shelf.writer.extend("import", 0, SECOND_US)
    shelf.writer.gap(Gap("milter", NOON_US, NOON_US + SECOND_US, "not_running"))
    shelf.writer.commit()
    shelf.close()
    return shelf


def test_a_report_in_json_keeps_to_its_schema(filled: "Shelf", run: "Run") -> None:
    done = run("report", "--format", "json")
    assert (done.code, done.err) == (0, "")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 10
    for each in rows:
        validate("report", each)
        assert list(each) == list(FIELDS)
    assert rows[0]["subject"] == text.json_text(EVIL)


def test_a_schema_refuses_what_no_row_is(filled: "Shelf", run: "Run") -> None:
    good = json.loads(run("report", "--limit", "1", "--format", "json").out)
    for name in FIELDS:
        for bad in ({**good, name: object}, {each: good[each] for each in good if each != name}):
            with pytest.raises(ValidationError):
                validate("report", bad)
    with pytest.raises(ValidationError):
        validate("report", {**good, "more": 1})


def test_the_schemas_know_every_token() -> None:
    properties = json.loads((SCHEMAS / "report.json").read_text())["properties"]
    assert list(properties) == list(FIELDS)
    assert set(properties["status"]["enum"]) == {status.token for status in Status}
    assert set(properties["reason"]["enum"]) == set(REASONS)
    assert set(properties["direction"]["enum"]) == {None, *(way.token for way in Direction)}
    assert set(properties["sources"]["items"]["enum"]) == {each.name.lower() for each in Source}
    show = json.loads((SCHEMAS / "show.json").read_text())["properties"]
    kinds = {kind.name.lower() for kind in Kind if kind < Kind.CONNECT}
    assert set(show["timeline"]["items"]["properties"]["kind"]["enum"]) == kinds


@pytest.mark.parametrize("name", ["QID1", "EVIL"])
def test_show_in_json_keeps_to_its_schema(filled: "Shelf", run: "Run", name: str) -> None:
    done = run("show", name, "--format", "json")
    assert (done.code, done.err) == (0, "")
    validate("show", json.loads(done.out))


@pytest.mark.parametrize("by", ["status", "hour", "domain"])
def test_stats_in_json_keep_to_their_schema(filled: "Shelf", run: "Run", by: str) -> None:
    done = run("stats", "--by", by, "--format", "json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    validate("stats", document)
    assert document["rows"] == 10
    assert sum(group["rows"] for group in document["groups"]) == 10


def test_coverage_in_json_keeps_to_its_schema(filled: "Shelf", run: "Run") -> None:
    done = run("coverage", "--format", "json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    validate("coverage", document)
    assert [(each["source"], each["gapless"]) for each in document["intervals"]] == [
        ("import", None),
        ("log", True),
    ]
    assert document["gaps"] == [
        {
            "source": "milter",
            "begin": "2026-11-23T12:00:00.000Z",
            "end": "2026-11-23T12:00:01.000Z",
            "reason": "not_running",
            "lines_lost": None,
        }
    ]


def test_check_in_json_keeps_to_its_schema(filled: "Shelf", run: "Run") -> None:
    done = run("check", "--format", "json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    validate("check", document)
    assert document["problems"] == 0
    assert [part["name"] for part in document["parts"]] == ["state", "2026-11-23", "2026-11-24"]


def test_import_in_json_keeps_to_its_schema(run: "Run") -> None:
    done = run("import", "posttrail/demo/sample.log.gz", "--format", "json")
    assert done.code == 0
    validate("import", json.loads(done.out))


@pytest.mark.parametrize(
    "arguments",
    [
        ("report",),
        ("report", "--format", "json"),
        ("report", "--format", "csv"),
        ("show", "EVIL"),
        ("show", "EVIL", "--format", "json"),
        ("stats", "--by", "domain"),
        ("show", "\x1b[2J\u202e"),
        ("report", "\x1b[2J\u202e"),
        ("report", "--status", "\x1b[2J\u202e"),
        ("report", "--cursor", "\x1b[2J\u202e"),
        ("report", "--\x1b[2J\u202e"),
    ],
)
def test_nothing_hostile_comes_out(filled: "Shelf", run: "Run", arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.out or done.err
    assert not text.HOSTILE.search((done.out + done.err).replace("\n", ""))


def test_a_table_has_counts_the_zone_and_every_status(filled: "Shelf", run: "Run") -> None:
    lines = run("report", "to@example.org").out.splitlines()
    assert lines[0] == (
        "6 rows: ✓ delivered 1, … in progress 1, ▽ filtered 1, ↻ deferred 1, ⊘ rejected 1, "
        "✗ error 1; times in UTC (+0000)"
    )
    assert lines[1].split() == [
        "time",
        "status",
        "from",
        "to",
        "reason",
        "id",
        "what",
        "was",
        "said",
    ]
    assert lines[2].startswith("2026-11-23 11:59:59  ✓ delivered")
    assert len(lines) == 8


def test_times_are_local_in_a_table_and_utc_in_json(filled: "Shelf", run: "Run") -> None:
    table = run("report", "to@example.org", TZ="Asia/Tokyo").out
    assert "times in JST (+0900)" in table
    assert "2026-11-23 20:59:59" in table
    found = run("report", "to@example.org", "--since", "2026-11-23T20:59:59",
                "--format", "json", TZ="Asia/Tokyo")  # fmt: skip
    assert json.loads(found.out)["time"] == "2026-11-23T11:59:59.000Z"


def test_pages_follow_one_another(filled: "Shelf", run: "Run") -> None:
    first = run("report", "--limit", "6", "--format", "json")
    word, _, cursor = first.err.strip().partition(" ")
    assert word == "next:"
    second = run("report", "--limit", "6", "--format", "json", "--cursor", cursor)
    assert second.err == ""
    whole = run("report", "--limit", "all", "--format", "json")
    assert first.out + second.out == whole.out
    assert run("report", "--status", "error", "--cursor", cursor).code == 64


@pytest.mark.parametrize("arguments", [("report", "nobody@example.net"), ("show", "NOSUCH")])
def test_nothing_found_is_said_and_is_exit_code_1(
    filled: "Shelf", run: "Run", arguments: tuple[str, ...]
) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("posttrail: nothing found")


def test_an_empty_answer_in_csv_still_has_its_heading(filled: "Shelf", run: "Run") -> None:
    done = run("report", "nobody@example.net", "--format", "csv")
    assert (done.code, done.out) == (1, ",".join(FIELDS) + "\n")


def test_stats_widen_a_window_to_whole_hours(filled: "Shelf", run: "Run") -> None:
    done = run("stats", "--since", "2026-11-23T12:30:00Z", "--format", "json")
    document = json.loads(done.out)
    assert document["since"] == "2026-11-23T12:00:00.000Z"
    assert document["rows"] == 4


def test_stats_by_domain_say_what_they_leave_out(filled: "Shelf", run: "Run") -> None:
    document = json.loads(run("stats", "--by", "domain", "--limit", "1", "--format", "json").out)
    assert [group["key"] for group in document["groups"]] == ["example.org"]
    assert document["groups"][0]["rows"] == 7
    assert document["groups_left_out"] == 2


@pytest.mark.parametrize("arguments", [("stats",), ("stats", "--by", "hour"), ("coverage",)])
def test_the_text_forms_come_out(filled: "Shelf", run: "Run", arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.err) == (0, "")
    words = {"stats": "10 rows", "coverage": "gap: not running"}
    assert words[arguments[0]] in done.out


def test_a_newer_journal_is_refused_with_both_numbers(filled: "Shelf", run: "Run") -> None:
    (filled.directory / "FORMAT").write_text("posttrail-journal 7\n")
    done = run("report")
    assert done.code == 78
    assert "format 7" in done.err
    assert "up to 1" in done.err


def test_a_journal_of_others_names_the_group_to_join(filled: "Shelf") -> None:
    """In a forked child: where root runs the tests, nobody may not even read the program."""
    with TemporaryDirectory(dir="/tmp") as place, TemporaryFile("w+") as words:
        Path(place).chmod(0o755)
        journal = shutil.copytree(filled.directory, Path(place) / "journal")
        journal.chmod(0o700 if os.getuid() == 0 else 0)
        child = os.fork()
        if child == 0:
            os.dup2(words.fileno(), 2)
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - it ends with the child
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            os._exit(cli.main(["--journal", str(journal), "report"]))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        journal.chmod(0o700)
        words.seek(0)
        group = store.group_of(journal)
        assert words.read() == (
            f"posttrail: no permission on {journal}/FORMAT: join the group {group}, or run as root\n"
        )
        assert code == 77


def damage(directory: Path) -> None:
    """Every page of every day but the first two, which LMDB checks, becomes noise."""
    for file in directory.glob("2*/data.mdb"):
        raw = bytearray(file.read_bytes())
        raw[2 * 4096 :] = bytes(range(1, 255)) * (len(raw) // 254 + 1)
        file.write_bytes(raw[: file.stat().st_size])


def test_damage_is_a_sentence_and_an_exit_code(filled: "Shelf", run: "Run") -> None:
    damage(filled.directory)
    for verb in ("report", "check"):
        done = run(verb)
        assert done.code == 69
        assert "damaged" in done.err


def test_a_cut_short_journal_is_a_sentence_and_an_exit_code(filled: "Shelf", run: "Run") -> None:
    for file in filled.directory.glob("2*/data.mdb"):
        os.truncate(file, 2 * 4096)
    done = run("report")
    assert done.code == 69
    assert done.err.count("\n") == 1
    assert "damaged" in done.err


def test_check_names_a_record_that_does_not_hold(filled: "Shelf", run: "Run") -> None:
    file = filled.directory / "2026-11-23" / "data.mdb"
    raw = file.read_bytes()
    assert b"a subject" in raw
    file.write_bytes(raw.replace(b"a subject", b"A subject"))
    done = run("check")
    assert done.code == 69
    assert "problems" in done.out


def test_an_id_is_found_in_either_case(filled: "Shelf", run: "Run") -> None:
    id = json.loads(run("report", "--limit", "1", "--format", "json").out)["id"]
    assert keys.parse_id(id)
    assert run("show", id).out == run("show", id.upper()).out


def test_coverage_of_an_empty_journal_says_so(shelf: "Shelf", run: "Run") -> None:
    shelf.close()
    assert run("coverage").out == "nothing was recorded yet\n"
