"""posttrail-queryd as a process: its sockets, its end, slow clients, and a damaged day."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from posttrail.demo.stage import free_port
from query.httpd import sockets
from query.httpd.facts import Door
from tests.unit.query.conftest import Shelf, row
from tests.unit.query.serving import ROOT, Served, Unix, configuration, served


@pytest.fixture
def filled(shelf: Shelf) -> Shelf:
    for _ in range(3):
        shelf.put(row())
    shelf.close()
    return shelf


def place(tmp_path: Path) -> Path:
    made = tmp_path / "service"
    made.mkdir()
    return made


def test_it_answers_on_a_socket_of_its_own_and_leaves_nothing(
    filled: Shelf, tmp_path: Path
) -> None:
    directory = place(tmp_path)
    with served(directory, filled.directory) as running:
        mode = running.socket.stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o660)
        assert running.get("/v1/messages")[0] == 200
        gauges = directory / "queryd.prom"
        assert "posttrail_queryd_requests" in gauges.read_text()
    assert running.process.returncode == 0
    assert not running.socket.exists()
    assert (directory / "state" / "touching").read_text() == ""


def test_a_second_one_leaves_the_socket_to_the_first(filled: Shelf, tmp_path: Path) -> None:
    with served(place(tmp_path), filled.directory) as running:
        command = [sys.executable, "-m", "query.httpd.main", "--config", str(running.config)]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30, check=False)
        assert second.returncode == 75
        assert b"already running" in second.stderr
        assert running.get("/readyz")[0] == 200


def test_the_socket_of_a_dead_one_is_taken_over(filled: Shelf, tmp_path: Path) -> None:
    directory = place(tmp_path)
    with served(directory, filled.directory) as running:
        running.process.kill()
        running.process.wait(30)
        assert running.socket.exists()
    with served(directory, filled.directory) as running:
        assert running.get("/readyz")[0] == 200


def test_an_answer_under_way_is_finished_before_the_end(filled: Shelf, tmp_path: Path) -> None:
    with served(place(tmp_path), filled.directory) as running:
        connection = Unix(running.socket)
        connection.request("GET", "/v1/messages?limit=all&format=ndjson")
        answer = connection.getresponse()  # its head is here, so it is under way
        running.process.send_signal(signal.SIGTERM)
        assert answer.read().endswith(b'{"end":true}\n')
        connection.close()
        assert running.process.wait(30) == 0


def test_what_is_no_http_is_refused_and_harms_nobody(filled: Shelf, tmp_path: Path) -> None:
    with served(place(tmp_path), filled.directory) as running:
        for raw in (
            b"\x00\xff\r\n\r\n",
            b"GET / FTP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"POST /v1/links HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        ):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(running.socket))
                client.sendall(raw)
                status = client.recv(4096).split(b" ")[1]
                assert status[:1] == b"4", raw[:40]
        assert running.get("/readyz")[0] == 200


def test_a_port_knows_nobody_by_being_local(filled: Shelf, tmp_path: Path) -> None:
    port = free_port()
    with served(place(tmp_path), filled.directory, f'tcp = "127.0.0.1:{port}"\n'):
        from http.client import HTTPConnection

        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/v1/messages")
        answer = connection.getresponse()
        assert answer.status == 401
        connection.close()


def test_a_damaged_day_kills_it_twice_and_is_then_left_out(filled: Shelf, tmp_path: Path) -> None:
    directory = place(tmp_path)
    with (filled.directory / "2026-11-23" / "data.mdb").open("r+b") as file:
        file.truncate(8192)
    config = configuration(directory, filled.directory)
    command = [sys.executable, "-m", "query.httpd.main", "--config", str(config)]
    for _ in range(2):  # its own first request touches all days
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
        assert done.returncode in (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGABRT)
    with served(directory, filled.directory) as running:
        status, _, body = running.get("/v1/messages?text=x")
        assert (status, b'"rows":[]' in body) == (200, True)
        assert "left out part=2026-11-23" in running.log.read_text()


def test_sockets_that_systemd_passes_go_by_their_names(tmp_path: Path) -> None:
    program = f"""
import os, socket
made = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for number, each in enumerate(made):
    each.bind({str(tmp_path)!r} + f"/s{{number}}")
    each.listen()
high = [os.dup(each.fileno()) for each in made]
for each in made:
    each.close()
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number)
from query.httpd.sockets import passed
environment = {{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "posttrail-queryd.socket:proxy"}}
for each in passed(environment):
    print(each.door.value, each.socket.getsockname())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"queryd {tmp_path}/s0\nproxy {tmp_path}/s1\n"


def test_sockets_for_another_process_are_not_ours() -> None:
    assert sockets.passed({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert os.getpid() != 1
    assert Door("tcp") is Door.TCP


def test_the_service_type_is_served(filled: Shelf, tmp_path: Path) -> None:
    with served(place(tmp_path), filled.directory) as running:
        assert isinstance(running, Served)
        assert b'"openapi":"3.1.0"' in running.get("/openapi.json")[2]
