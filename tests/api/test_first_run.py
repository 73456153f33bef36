"""The first visit: no window in which a stranger is administrator."""

from __future__ import annotations

from .conftest import PASSWORD, Installation


async def test_before_setup_everything_is_closed(fresh: Installation) -> None:
    async with fresh.client() as http:
        assert (await http.get("/setup")).json()["required"] is True
        for path in ("/projects", "/hosts", "/accounts", "/haconfigs/haconfig", "/settings"):
            assert (await http.get(path)).status_code == 401
        assert (await http.post("/accounts", json={"username": "me", "password": PASSWORD})).status_code == 401


async def test_a_wrong_secret_makes_no_administrator(fresh: Installation) -> None:
    async with fresh.client() as http:
        answer = await http.post("/setup", json={"secret": "x", "username": "eve", "password": PASSWORD})
        assert (answer.status_code, answer.json()["fieldName"]) == (403, "secret")
        assert "setup-secret" in answer.json()["message"]
        assert (await http.get("/setup")).json()["required"] is True


async def test_a_weak_password_is_refused_at_its_field(fresh: Installation) -> None:
    secret = await fresh.api.setup_secret()
    async with fresh.client() as http:
        answer = await http.post("/setup", json={"secret": secret, "username": "admin", "password": "short"})
        assert (answer.status_code, answer.json()["code"]) == (422, "MinLengthExceeded")
        assert answer.json()["fieldName"] == "password"


async def test_setup_happens_once_and_logs_in(fresh: Installation) -> None:
    secret = await fresh.api.setup_secret()
    body = {"secret": secret, "username": "admin", "password": PASSWORD}
    async with fresh.client() as http:
        answer = await http.post("/setup", json=body)
        assert answer.status_code == 201
        assert "httponly" in answer.headers["set-cookie"].lower()
        assert (await http.get("/projects")).status_code == 200
        http.cookies.clear()
        assert (await http.post("/setup", json={**body, "username": "second"})).status_code == 409
        assert (await http.get("/setup")).json()["required"] is False


async def test_login_and_logout(server: Installation) -> None:
    async with server.client() as http:
        wrong = await http.post("/token", json={"code": "admin:wrong password"})
        assert wrong.status_code == 401
        right = await http.post("/token", json={"code": f"admin:{PASSWORD}"})
        assert right.status_code == 201
        bearer = {"Authorization": "Bearer " + right.json()["jwt"]}
        http.cookies.clear()
        assert (await http.get("/projects", headers=bearer)).status_code == 200
        assert (await http.delete("/token", headers=bearer)).status_code == 204
        assert (await http.get("/projects", headers=bearer)).status_code == 401


async def test_a_browser_session_needs_the_csrf_header_to_change_anything(server: Installation) -> None:
    browser = {"User-Agent": "Mozilla/5.0"}
    async with server.client(headers=browser) as http:
        await http.post("/token", json={"code": f"admin:{PASSWORD}"})
        refused = await http.post("/projects", json={"name": "two"})
        assert (refused.status_code, refused.json()["code"]) == (403, "InvalidCSRFToken")
        accepted = await http.post("/projects", json={"name": "two"}, headers={"X-API-CSRF": http.cookies["CSRF"]})
        assert accepted.status_code == 201


async def test_turning_access_control_off_is_an_explicit_setting(server: Installation) -> None:
    async with server.admin(None) as admin, server.client() as stranger:
        assert (await stranger.get("/hosts")).status_code == 401
        await admin.put("/settings/api.security.enabled", json={"value": "false"})
        assert (await stranger.get("/hosts")).status_code == 200
        await admin.put("/settings/api.security.enabled", json={"value": "true"})
        assert (await stranger.get("/hosts")).status_code == 401


async def test_people_change_their_own_password_and_nobody_elses(server: Installation) -> None:
    async with server.admin(None) as admin:
        ann = (await admin.post("/accounts", json={"username": "ann", "password": PASSWORD})).json()
    async with server.client() as http:
        login = await http.post("/token", json={"code": f"ann:{PASSWORD}"})
        http.cookies.clear()
        headers = {"Authorization": "Bearer " + login.json()["jwt"]}
        assert (await http.put("/accounts/1a1", json={"password": "mine now!"}, headers=headers)).status_code == 404
        changed = await http.put(f"/accounts/{ann['id']}", json={"password": "a new one"}, headers=headers)
        assert changed.status_code == 200, changed.text
        assert (await http.get("/projects", headers=headers)).status_code == 401
        assert (await http.post("/token", json={"code": f"ann:{PASSWORD}"})).status_code == 401
        assert (await http.post("/token", json={"code": "ann:a new one"})).status_code == 201
