"""The client against servers that refuse, vanish and speak TLS: a small HTTP server per test plays them."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from remuda.cli import client
from remuda.cli.client import Api
from remuda.cli.config import Settings
from remuda.cli.errors import REFUSED, UNREACHABLE, CliError, RefusalError
from remuda.cli.main import run

Answer = tuple[int, Any]


class Player:
    """Gives the prepared answers in turn (the last one for ever) and remembers what it was asked. None = hang up."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[Answer | None] = [(200, {})]
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        player = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _play(self) -> None:
                player.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                player.asked.append((self.command, self.path))
                answer = player.answers.pop(0) if len(player.answers) > 1 else player.answers[0]
                if answer is None:
                    self.close_connection = True
                    return
                status, document = answer
                body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = _play

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def player() -> Iterator[Player]:
    playing = Player()
    yield playing
    playing.close()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def api(player: Player, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(client, "RETRY_SECONDS", 3.0)
    monkeypatch.setattr(client, "FIRST_CONTACT_SECONDS", 1.0)
    settings = Settings(url=f"http://127.0.0.1:{player.port}", access_key="a", secret_key="b")
    using = Api(settings, said.append)
    yield using
    using.close()


NO_QUORUM = (503, {"type": "error", "status": 503, "code": "NoQuorum", "message": "Two of three nodes are away."})
CREATED = (201, {"id": "1e1", "type": "environment"})


def test_a_write_that_was_refused_for_lack_of_quorum_is_repeated(player: Player, api: Api, said: list[str]) -> None:
    player.answers = [NO_QUORUM, NO_QUORUM, CREATED]
    assert api.request("POST", "/v1/x", {})["id"] == "1e1"
    assert len(player.asked) == 3
    assert said == [f"{api.server} cannot do this now (Two of three nodes are away.); trying again"]


def test_without_quorum_for_long_the_reason_of_the_server_is_told(player: Player, api: Api) -> None:
    player.answers = [NO_QUORUM]
    with pytest.raises(RefusalError, match=r"^Two of three nodes are away\.$") as caught:
        api.request("POST", "/v1/x", {})
    assert caught.value.code == UNREACHABLE


@pytest.mark.parametrize("lost", [None, (502, "<html>"), (504, "<html>")])
def test_a_creation_whose_answer_got_lost_is_not_repeated_but_a_wish_is(
    player: Player, api: Api, lost: Answer | None
) -> None:
    player.answers = [lost, CREATED]
    with pytest.raises(CliError) as caught:
        api.request("POST", "/v1/x", {})
    assert caught.value.code == UNREACHABLE
    assert len(player.asked) == 1
    player.answers = [lost, CREATED]
    assert api.request("POST", "/v1/x", {}, repeat=True)["id"] == "1e1"
    player.answers = [lost, CREATED]
    assert api.request("PUT", "/v1/x", {})["id"] == "1e1"


def test_a_refusal_is_told_in_the_words_of_the_server(player: Player, api: Api) -> None:
    player.answers = [(422, {"type": "error", "status": 422, "code": "NotUnique", "message": "There is one already."})]
    with pytest.raises(RefusalError) as caught:
        api.request("GET", "/v1/x")
    assert (caught.value.status, caught.value.reason, caught.value.message) == (
        422,
        "NotUnique",
        "There is one already.",
    )
    assert caught.value.code == REFUSED
    assert len(player.asked) == 1


def test_something_that_is_no_remuda_is_recognised(player: Player, api: Api) -> None:
    player.answers = [(200, "<html>hello</html>")]
    with pytest.raises(CliError, match="check the URL"):
        api.request("GET", "/v1/x")


def test_lists_are_read_page_after_page_whatever_address_the_server_thinks_it_has(player: Player, api: Api) -> None:
    player.answers = [
        (200, {"data": [{"id": "1"}], "pagination": {"next": "https://wrong.example/v1/x?limit=1000&marker=m1"}}),
        (200, {"data": [{"id": "2"}], "pagination": {"next": None}}),
    ]
    assert [r["id"] for r in api.fetch_at("/v1/x")] == ["1", "2"]
    assert player.asked[1] == ("GET", "/v1/x?limit=1000&marker=m1")


def test_sockets_are_opened_where_the_client_reaches_the_server(api: Api) -> None:
    assert (
        api.socket_url("wss://inside:9/v1/exec/?token=x")
        == f"ws://127.0.0.1:{api.server.rsplit(':', 1)[1]}/v1/exec/?token=x"
    )
    behind = Api(Settings(url="https://h/prefix/v1"))
    assert behind.socket_url("ws://h/v1/logs/") == "wss://h/prefix/v1/logs/"


SCRIPT = "#!/bin/bash\nexit 0\n\u00e4 \n"


def test_the_start_up_script_is_written_for_its_owner_only_and_byte_for_byte(
    player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("REMUDA_URL", f"http://127.0.0.1:{player.port}")
    monkeypatch.setenv("REMUDA_CLIENT_CONFIG", str(tmp_path / "cli.json"))
    player.answers = [(200, SCRIPT)]
    path = tmp_path / "ha.sh"
    path.write_text("older and longer than the new one " * 10)
    path.chmod(0o644)
    assert run(["ha", "script", "--size", "3", "--registration-url", "https://x", "-o", str(path)]) == 0
    assert path.read_bytes() == SCRIPT.encode()
    assert path.stat().st_mode & 0o777 == 0o600
    assert player.asked == [("POST", "/v1/haconfigs/haconfig?action=createscript")]
    assert json.loads(player.bodies[-1]) == {"clusterSize": 3, "hostRegistrationUrl": "https://x"}
    capsysbinary.readouterr()
    assert run(["ha", "script", "-o", "-"]) == 0
    assert json.loads(player.bodies[-1]) == {}
    assert capsysbinary.readouterr().out == SCRIPT.encode()


def test_a_mistake_of_ours_is_a_sentence_too(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REMUDA_URL", f"http://127.0.0.1:{player.port}")
    player.answers = [(200, [1, 2])]
    assert run(["ps"]) == 1
    assert "REMUDA_DEBUG=1" in capsys.readouterr().err


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_player(authority: trustme.CA) -> Iterator[Player]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    playing = Player(context)
    yield playing
    playing.close()


def test_a_private_certificate_is_refused_until_its_authority_is_given(
    tls_player: Player, authority: trustme.CA, tmp_path: Path
) -> None:
    url = f"https://127.0.0.1:{tls_player.port}"
    with pytest.raises(CliError, match="--ca") as caught:
        Api(Settings(url=url)).request("GET", "/v1/x")
    assert caught.value.code == UNREACHABLE
    assert tls_player.asked == []
    ca = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(str(ca))
    assert Api(Settings(url=url, ca=str(ca))).request("GET", "/v1/x") == {}


def test_tls_toward_a_plain_server_says_so(player: Player) -> None:
    with pytest.raises(CliError, match="http://"):
        Api(Settings(url=f"https://127.0.0.1:{player.port}")).request("GET", "/v1/x")


def test_an_unusable_authority_is_said(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot be used"):
        Api(Settings(url="https://h", ca=str(tmp_path / "none")))
