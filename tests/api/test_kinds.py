"""The further kinds of services: aliases, what is outside, load balancers; links and selectors; from files and back."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from .conftest import Installation, eventually

FILES = {
    "name": "front",
    "dockerCompose": """
version: '2'
services:
  web: {image: nginx, links: [db]}
  db: {image: mysql, retain_ip: true}
  alias: {image: rancher/dns-service, links: [web, db]}
  beyond: {image: rancher/external-service, hostname: example.test}
  lb:
    image: rancher/lb-service-haproxy
    ports: ['80:80', '443:443']
""",
    "rancherCompose": """
version: '2'
services:
  lb:
    scale: 2
    lb_config:
      port_rules:
      - {source_port: 80, target_port: 8080, service: web, hostname: www.example.test, path: /shop}
      - {source_port: 443, protocol: sni, service: db, priority: 2}
""",
}


async def services(http: httpx2.AsyncClient, stack: str) -> dict[str, Any]:
    found = (await http.get(f"/services?environmentId={stack}")).json()["data"]
    return {s["name"]: s for s in found}


async def made(http: httpx2.AsyncClient, **files: str) -> dict[str, Any]:
    answer = await http.post("/environments", json={**FILES, **files})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def test_every_kind_comes_from_files_and_is_a_type_of_its_own(server: Installation) -> None:
    async with server.admin() as http:
        stack = await made(http)
        found = await services(http, stack["id"])
        assert {name: s["type"] for name, s in found.items()} == {
            "web": "service", "db": "service", "alias": "dnsService", "beyond": "externalService", "lb": "loadBalancerService",
        }  # fmt: skip
        assert {s["name"] for s in (await http.get("/dnsservices")).json()["data"]} == {"alias"}
        assert found["beyond"]["hostname"] == "example.test"
        assert found["db"]["retainIp"] is True
        assert found["alias"]["linkedServices"] == {"web": found["web"]["id"], "db": found["db"]["id"]}
        rules = found["lb"]["lbConfig"]["portRules"]
        assert rules[0]["serviceId"] == found["web"]["id"]
        assert [r.get("protocol", "http") for r in rules] == ["http", "sni"]

        async def settled() -> bool:
            now = await services(http, stack["id"])
            return now["alias"]["state"] == now["beyond"]["state"] == "active"

        await eventually(settled)


async def test_files_come_back_as_they_were(server: Installation) -> None:
    async with server.admin() as http:
        stack = await made(http)
        out = (await http.post(f"/environments/{stack['id']}/?action=exportconfig", json={})).json()
        again = await made(
            http, name="again", dockerCompose=out["dockerComposeConfig"], rancherCompose=out["rancherComposeConfig"]
        )
        before, after = await services(http, stack["id"]), await services(http, again["id"])
        ids = {s["id"]: name for name, s in (*before.items(), *after.items())}
        for name, one in before.items():
            two = after[name]
            assert one["type"] == two["type"]
            assert {k: ids[v] for k, v in one["linkedServices"].items()} == {
                k: ids[v] for k, v in two["linkedServices"].items()
            }
            for field in ("hostname", "externalIpAddresses", "retainIp"):
                assert one.get(field) == two.get(field)
        told = [
            [{**r, "serviceId": ids[r["serviceId"]]} for r in kind["lb"]["lbConfig"]["portRules"]]
            for kind in (before, after)
        ]
        assert told[0] == told[1]


async def test_links_are_set_added_and_removed(server: Installation) -> None:
    async with server.admin() as http:
        stack = await made(http)
        found = await services(http, stack["id"])
        url = f"/services/{found['web']['id']}/"

        async def linked() -> dict[str, str]:
            return (await http.get(url)).json()["linkedServices"]  # type: ignore[no-any-return]

        link = {"serviceId": found["beyond"]["id"], "name": "out"}
        assert (await http.post(url + "?action=addservicelink", json={"serviceLink": link})).status_code == 202
        assert await linked() == {"db": found["db"]["id"], "out": found["beyond"]["id"]}
        await http.post(url + "?action=removeservicelink", json={"serviceLink": {"serviceId": found["db"]["id"]}})
        assert await linked() == {"out": found["beyond"]["id"]}
        await http.post(url + "?action=setservicelinks", json={"serviceLinks": []})
        assert await linked() == {}
        for bad in (found["web"]["id"], "1s9999", "nonsense"):
            answer = await http.post(url + "?action=setservicelinks", json={"serviceLinks": [{"serviceId": bad}]})
            assert (answer.status_code, answer.json()["code"]) == (422, "InvalidReference")
        assert await linked() == {}


async def test_a_service_links_to_another_stack(server: Installation) -> None:
    async with server.admin() as http:
        await made(http)
        guest = "guest: {image: nginx, external_links: ['front/db:store']}"
        stack = await made(http, name="guest", dockerCompose=guest, rancherCompose="")
        assert list((await services(http, stack["id"]))["guest"]["linkedServices"]) == ["store"]
        answer = await http.post(
            "/environments", json={"name": "lost", "dockerCompose": "a: {image: x, external_links: [no/where]}"}
        )
        assert answer.status_code == 422
        assert "no/where" in answer.json()["message"]
        assert not (await http.get("/environments?name=lost")).json()["data"]


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("externalservices", {}, "externalIpAddresses"),
        ("externalservices", {"externalIpAddresses": ["192.0.2.1"], "hostname": "a.test"}, "externalIpAddresses"),
        ("externalservices", {"externalIpAddresses": ["192.0.2.300"]}, "externalIpAddresses[0]"),
        ("externalservices", {"hostname": "no spaces"}, "hostname"),
        ("services", {"launchConfig": {"imageUuid": "docker:x"}, "selectorLink": "a in b"}, "selectorLink"),
        ("dnsservices", {"selectorLink": "= x"}, "selectorLink"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_field(
    server: Installation, kind: str, body: dict[str, Any], field: str
) -> None:
    async with server.admin() as http:
        stack = await made(http)
        answer = await http.post(f"/{kind}", json={"name": "x", "environmentId": stack["id"], **body})
        assert (answer.status_code, answer.json()["fieldName"]) == (422, field), answer.text


async def test_another_port_makes_no_new_containers(server: Installation) -> None:
    async with server.admin() as http:
        stack = await made(http, dockerCompose="web: {image: nginx, ports: ['8080:80']}", rancherCompose="")
        web = (await services(http, stack["id"]))["web"]
        for ports, revision in ((["9090:80"], 1), (["9090:80", "81"], 1)):
            changed = {**web["launchConfig"], "ports": ports}
            answer = await http.put(f"/services/{web['id']}", json={"launchConfig": changed})
            assert answer.json()["revision"] == revision
        answer = await http.put(
            f"/services/{web['id']}", json={"launchConfig": {**changed, "imageUuid": "docker:apache"}}
        )
        assert answer.json()["revision"] == 2


async def test_the_network_of_an_environment_is_looked_after(server: Installation) -> None:
    async with server.admin() as http:
        network = (await http.get("/networks")).json()["data"][0]
        url = f"/networks/{network['id']}"
        policy = [{"within": "stack", "action": "allow"}, {"between": {"groupBy": "team"}, "action": "deny"}]
        changed = await http.put(url, json={"defaultPolicyAction": "deny", "policy": policy, "subnet": "10.43.0.0/16"})
        assert changed.status_code == 200, changed.text
        assert [rule["action"] for rule in changed.json()["policy"]] == ["allow", "deny"]
        for body, field in (
            ({"subnet": "8.8.0.0/16"}, "subnet"), ({"subnet": "10.43.0.1/16"}, "subnet"), ({"mtu": 100}, "mtu"),
            ({"portFirst": 60000, "portLast": 50000}, "portFirst"), ({"encryption": "rot13"}, "encryption"),
        ):  # fmt: skip
            answer = await http.put(url, json=body)
            assert (answer.status_code, answer.json()["fieldName"]) == (422, field), answer.text
        await server.agent()

        async def holds() -> bool:
            return bool((await http.get("/ipaddresses")).json()["data"])

        await eventually(holds)
        answer = await http.put(url, json={"subnet": "10.44.0.0/16"})
        assert answer.status_code == 422
        assert "in use" in answer.json()["message"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("10.42.0.300", "no IPv4 address"),
        ("192.168.1.5", "the environment's subnet is 10.42.0.0/16"),
        ("10.42.0.1", "choose one from 10.42.0.2"),
        ("10.42.0.9, 10.42.255.255", "10.42.255.255 cannot be given"),
    ],
)
async def test_an_address_that_can_never_be_given_is_refused_and_nothing_is_made(
    server: Installation, asked: str, words: str
) -> None:
    async with server.admin() as http:
        stack = await made(http)
        config = {"imageUuid": "docker:nginx", "requestedIpAddress": asked}
        body = {"name": "fixed", "environmentId": stack["id"], "launchConfig": config}
        refused = [
            (await http.post("/services", json=body), "launchConfig.requestedIpAddress"),
            (await http.post("/containers", json={**config, "name": "fixed"}), "requestedIpAddress"),
        ]
        labels = {"io.rancher.container.requested_ip": asked}
        files = {"dockerCompose": f"version: '2'\nservices:\n  fixed: {{image: nginx, labels: {json.dumps(labels)}}}\n"}
        refused.append((await http.post("/environments", json={"name": "fixed", **files}), "dockerCompose"))
        for answer, field in refused:
            assert answer.status_code == 422, answer.text
            assert answer.json()["fieldName"] == field
            assert words in answer.json()["message"]
        assert "fixed" not in await services(http, stack["id"])
        assert not (await http.get("/environments?name=fixed")).json()["data"]
        assert not (await http.get("/containers?name=fixed")).json()["data"]
        fine = await http.post(
            "/services", json={**body, "launchConfig": {**config, "requestedIpAddress": "10.42.7.7"}}
        )
        assert fine.status_code == 201, fine.text


async def test_rules_follow_from_links_and_ports_in_the_older_form(server: Installation) -> None:
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()
        config = {"imageUuid": "docker:nginx"}
        web, api, late = [
            (
                await http.post("/services", json={"name": n, "environmentId": stack["id"], "launchConfig": config})
            ).json()
            for n in ("web", "api", "late")
        ]
        launch = {"imageUuid": "docker:rancher/load-balancer-service", "ports": ["80:8080", "443:443/tcp"],
                  "labels": {"io.rancher.loadbalancer.target.late": "late.test=81"}}  # fmt: skip
        sticky = {"name": "p", "cookie": "c", "domain": "", "mode": "insert"}
        older = {"haproxyConfig": {"global": "maxconn 10"}, "lbCookieStickinessPolicy": sticky}
        wish = {"name": "lb", "environmentId": stack["id"], "launchConfig": launch, "loadBalancerConfig": older}
        made = await http.post("/loadbalancerservices", json=wish)
        assert made.status_code == 201, made.text
        lb = made.json()
        assert lb["lbConfig"]["portRules"] == []
        assert "maxconn 10" in lb["lbConfig"]["config"]

        async def rules(action: str, body: dict[str, Any]) -> set[tuple[Any, ...]]:
            answer = await http.post(f"/loadbalancerservices/{lb['id']}/?action={action}", json=body)
            assert answer.status_code == 202, answer.text
            shown = answer.json()["lbConfig"]
            assert shown["stickinessPolicy"]["cookie"] == "c"
            return {
                (r["serviceId"], r["sourcePort"], r.get("hostname", ""), r.get("path", ""), r["targetPort"])
                for r in shown["portRules"]
            }

        narrowed = {"serviceId": web["id"], "ports": ["example.test:80/shop=9000"]}
        both = {(web["id"], 80, "example.test", "/shop", 9000), (late["id"], 80, "late.test", "", 81),
                (late["id"], 443, "", "", 81)}  # fmt: skip
        assert await rules("setservicelinks", {"serviceLinks": [narrowed]}) == both
        plain = {(api["id"], 80, "", "", 8080), (api["id"], 443, "", "", 443)}
        assert await rules("addservicelink", {"serviceLink": {"serviceId": api["id"]}}) == both | plain
        gone = {"serviceLink": {"serviceId": api["id"]}}
        answer = await http.post(f"/services/{lb['id']}/?action=removeservicelink", json=gone)
        assert len(answer.json()["lbConfig"]["portRules"]) == 3, "under the general name of services too"
        assert await rules("removeservicelink", gone) == both
        wrong = await http.post(
            f"/loadbalancerservices/{lb['id']}/?action=setservicelinks",
            json={"serviceLinks": [{"serviceId": web["id"], "ports": ["a:99"]}]},
        )
        assert (wrong.status_code, wrong.json()["fieldName"]) == (422, "serviceLinks")
        assert "99" in wrong.json()["message"]

        rule = {"sourcePort": 80, "serviceId": web["id"]}
        said = await http.put(f"/loadbalancerservices/{lb['id']}", json={"lbConfig": {"portRules": [rule]}})
        assert len(said.json()["lbConfig"]["portRules"]) == 1
        await http.post(f"/services/{lb['id']}/?action=addservicelink", json={"serviceLink": {"serviceId": api["id"]}})
        kept = (await http.get(f"/services/{lb['id']}")).json()
        assert len(kept["lbConfig"]["portRules"]) == 1, "who says the rules is not overruled by links"
