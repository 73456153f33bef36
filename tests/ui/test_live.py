"""T20: the server goes and comes back; the page says so, catches up without a reload, and keeps what was typed."""

from __future__ import annotations

from playwright.sync_api import expect
from tests.support.server import remuda_server
from tests.ui.conftest import OpenPage, Watch


def test_the_page_catches_up_after_the_server_was_away(built: None, open_page: OpenPage, watch: Watch) -> None:
    watch.expect(
        "ERR_CONNECTION_REFUSED", "WebSocket", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_SOCKET_NOT_CONNECTED"
    )
    with remuda_server() as server:
        page = open_page(server, "/stacks/new")
        other = open_page(server, "/stacks")
        page.evaluate("window.stillHere = true")
        other.evaluate("window.stillHere = true")
        page.get_by_test_id("stack-name").fill("half-typed")
        for one in (page, other):
            one.wait_for_load_state("networkidle")  # a file cut off in the middle would be another story
        server.kill()
        pill = page.get_by_test_id("connection")
        expect(pill).to_have_attribute("data-state", "reconnecting")
        expect(pill).to_have_attribute("data-state", "stale")
        expect(pill).to_contain_text("Stale since")
        server.start()
        for number in range(3):
            compose = "services:\n  a:\n    image: busybox\n"
            server.call(
                "POST", "/v1/projects/1a5/environments", {"name": f"while-away-{number}", "dockerCompose": compose}
            )
        expect(pill).to_have_attribute("data-state", "live")
        assert page.get_by_test_id("stack-name").input_value() == "half-typed"
        expect(other.get_by_test_id("connection")).to_have_attribute("data-state", "live")
        for number in range(3):
            expect(other.get_by_test_id(f"stack-while-away-{number}")).to_be_visible()
        assert page.evaluate("window.stillHere")
        assert other.evaluate("window.stillHere")

        server.kill()
        third = page.context.new_page()
        third.goto("about:blank")
        server.start()
        third.goto(f"{server.url}/hosts")
        expect(third.get_by_test_id("title")).to_have_text("Hosts")
        page.context.close()
        other.context.close()


def test_a_lost_socket_resumes_where_it_stopped(built: None, open_page: OpenPage, watch: Watch) -> None:
    watch.expect("ERR_INTERNET_DISCONNECTED", "WebSocket")
    with remuda_server() as server:
        page = open_page(server, "/stacks")
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        lists: list[str] = []
        page.on("request", lambda asked: lists.append(asked.url) if "environments?limit" in asked.url else None)
        # two pings: the page then knows a number from which nothing is missed
        page.wait_for_timeout(6000)
        page.evaluate("() => dispatchEvent(new Event('offline'))")
        page.context.set_offline(True)
        expect(page.get_by_test_id("connection")).not_to_have_attribute("data-state", "live")
        server.call(
            "POST",
            "/v1/projects/1a5/environments",
            {"name": "meanwhile", "dockerCompose": "services:\n  a:\n    image: busybox\n"},
        )
        page.context.set_offline(False)
        expect(page.get_by_test_id("stack-meanwhile")).to_be_visible()
        expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
        assert any("resume=" in url for url in sockets), sockets
        assert not lists, "a resume needs no new lists"
        page.context.close()
