"""What each writing of each setting becomes."""

from __future__ import annotations

from typing import Any

import pytest

from remuda.compose import Project, ServiceSpec, dump, load
from remuda.core.balancing.compose import from_compose
from remuda.core.model import ServiceLink
from remuda.core.spec import RestartPolicy


def good(text: str, rancher: str = "", **more: Any) -> Project:
    project = load(text, rancher, **more)
    assert project.valid, [str(p) for p in project.problems]
    return project


def web(settings: str, **more: Any) -> ServiceSpec:
    """The service ``web`` with these settings (flow style)."""
    return good(f"services:\n  web: {{image: nginx, {settings}}}\n", **more).services[0]


@pytest.mark.parametrize(
    ("written", "field", "expected"),
    [
        ("ports: [22:22]", "ports", ["22:22/tcp"]),
        ("ports: [1:30]", "ports", ["1:30/tcp"]),
        ("ports: [80]", "ports", ["80/tcp"]),
        ("ports: [':80']", "ports", ["80/tcp"]),
        ("ports: ['8080-8082:80-82/udp']", "ports", ["8080:80/udp", "8081:81/udp", "8082:82/udp"]),
        ("ports: ['127.0.0.1:8080:80']", "ports", ["127.0.0.1:8080:80/tcp"]),
        ("ports: ['127.0.0.1::80']", "ports", ["127.0.0.1::80/tcp"]),
        ("ports: ['[::1]:8080:80']", "ports", ["[::1]:8080:80/tcp"]),
        ("ports: [{target: 80, published: '8080', protocol: udp}]", "ports", ["8080:80/udp"]),
        ("ports: [{target: 80, published: 8080, host_ip: 10.0.0.1}]", "ports", ["10.0.0.1:8080:80/tcp"]),
        ("expose: [80, '443/udp', '90-91']", "expose", ["80", "443/udp", "90", "91"]),
        ("volumes: [/data]", "data_volumes", ["/data"]),
        ("volumes: ['/srv:/data:ro,z']", "data_volumes", ["/srv:/data:ro,z"]),
        ("volumes: ['db:/data']", "data_volumes", ["db:/data"]),
        ("volumes: [{type: bind, source: /srv, target: /data, read_only: true}]", "data_volumes", ["/srv:/data:ro"]),
        ("volumes: [{type: tmpfs, target: /t, tmpfs: {size: 64m}}]", "tmpfs", {"/t": "size=67108864"}),
        ("tmpfs: ['/run:size=1m', /tmp]", "tmpfs", {"/run": "size=1m", "/tmp": ""}),
        ("environment: {A: yes, B: 0644, C: 1.10, D: y, E: null}", "environment",
         {"A": "true", "B": "420", "C": "1.1", "D": "y", "E": ""}),
        ("environment: ['A=b=c', 'B=']", "environment", {"A": "b=c", "B": ""}),
        ("labels: ['a.b=c', d]", "labels", {"a.b": "c", "d": ""}),
        ("command: sh -c 'echo hi'", "command", ["sh", "-c", "echo hi"]),
        ("command: [sleep, 10]", "command", ["sleep", "10"]),
        ("entrypoint: ''", "entry_point", []),
        ("mem_limit: 512m", "memory", 512 << 20),
        ("mem_limit: 1.5g", "memory", 3 << 29),
        ("mem_limit: 1048576", "memory", 1 << 20),
        ("memswap_limit: -1", "memory_swap", -1),
        ("cpus: 0.5", "cpu_quota", 50_000),
        ("deploy: {resources: {limits: {memory: 64M, cpus: '1.5'}}}", "memory", 64 << 20),
        ("restart: no", "restart_policy", RestartPolicy(name="no")),
        ("restart: unless-stopped", "restart_policy", RestartPolicy(name="always")),
        ("restart: 'on-failure:3'", "restart_policy", RestartPolicy(name="on-failure", maximum_retry_count=3)),
        ("ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}", "ulimits",
         [{"name": "nofile", "soft": 1, "hard": 2}, {"name": "nproc", "soft": 3, "hard": 3}]),
        ("sysctls: ['net.core.somaxconn=1024']", "sysctls", {"net.core.somaxconn": "1024"}),
        ("extra_hosts: {db: 10.0.0.1}", "extra_hosts", ["db:10.0.0.1"]),
        ("extra_hosts: ['v6=::1']", "extra_hosts", ["v6:::1"]),
        ("dns: 8.8.8.8", "dns", ["8.8.8.8"]),
        ("net: host", "network_mode", "host"),
        ("stop_grace_period: 1m30s", "stop_timeout", 90),
        ("init: true", "run_init", True),
        ("shm_size: 64mb", "shm_size", 64 << 20),
        ("user: 1000", "user", "1000"),
        ("pull_policy: always", "labels", {"io.rancher.container.pull_image": "always"}),
        ("deploy: {placement: {constraints: [node.labels.disk == ssd]}}", "labels",
         {"io.rancher.scheduler.affinity:host_label": "disk=ssd"}),
        ("deploy: {mode: global}", "labels", {"io.rancher.scheduler.global": "true"}),
    ],
)  # fmt: skip
def test_a_setting_becomes_this(written: str, field: str, expected: object) -> None:
    assert getattr(web(written).launch_config, field) == expected


def test_logging_in_both_writings() -> None:
    new = web("logging: {driver: json-file, options: {max-size: 1m}}").launch_config.log_config
    old = (
        good("web: {image: nginx, log_driver: json-file, log_opt: {max-size: 1m}}\n")
        .services[0]
        .launch_config.log_config
    )
    assert new == old
    assert new is not None
    assert new.config == {"max-size": "1m"}


@pytest.mark.parametrize("version", ["", "version: '2'\n", "version: '2.4'\n", "version: '3.8'\n", "version: 2\n"])
def test_all_layouts_with_sections_are_read_alike(version: str) -> None:
    assert good(f"{version}services:\n  web:\n    image: nginx\n").services == [web("tty: false")]


def test_rancher_compose_is_merged_whatever_its_version() -> None:
    docker = "services:\n  web: {image: nginx, labels: {a: b}}\n"
    for rancher in (
        "web: {scale: '3', labels: {c: d}, metadata: {x: [1, {y: z}]}, start_on_create: false, retain_ip: true}\n",
        (
            "version: '2'\ncatalog: {name: x}\nservices:\n  web:\n"
            "    {scale: 3, labels: [c=d], metadata: {x: [1, {y: z}]}, start_on_create: no, retain_ip: yes}\n"
        ),
    ):
        service = good(docker, rancher).services[0]
        assert service.scale == 3
        assert service.launch_config.labels == {"a": "b", "c": "d"}
        assert service.metadata == {"x": [1, {"y": "z"}]}
        assert not service.start_on_create
        assert service.retain_ip


def test_health_check_and_upgrade_strategy() -> None:
    service = good(
        "web:\n  image: nginx\n",
        "web:\n  health_check:\n    port: 80\n    request_line: GET / HTTP/1.0\n    interval: 5000\n"
        "    strategy: recreateOnQuorum\n    recreate_on_quorum_strategy_config: {quorum: 2}\n"
        "  upgrade_strategy: {start_first: true}\n",
    ).services[0]
    check = service.health_check
    assert check is not None
    assert (check.port, check.interval, check.request_line) == (80, 5000, "GET / HTTP/1.0")
    assert check.recreate_on_quorum_strategy_config == {"quorum": 2}
    assert service.upgrade_strategy is not None
    assert service.upgrade_strategy.start_first


@pytest.mark.parametrize(("written", "seconds"), [("never", -1), ("30s", 30), ("45", 45), ("2m", 120), ("0", 0)])
def test_what_happens_when_a_host_is_lost(written: str, seconds: int) -> None:
    assert web(f"x-remuda: {{on_host_lost: {written}}}").on_host_lost == seconds
    assert good("web: {image: nginx}\n", f"web: {{on_host_lost: {written}}}\n").services[0].on_host_lost == seconds


def test_sidekicks_belong_to_their_primary_and_share_its_network_and_volumes() -> None:
    project = good(
        "app:\n  image: nginx\n  links: [db]\n  labels: {io.rancher.sidekicks: 'log, data'}\n"
        "log:\n  image: busybox\n  net: 'container:app'\n  volumes_from: [data]\n  links: ['db:database']\n"
        "data:\n  image: busybox\n  volumes: [/data]\n"
        "db:\n  image: mysql\n"
    )
    app, db = project.services
    assert (app.name, db.name) == ("app", "db")
    log, data = app.sidekicks
    assert (log.name, log.network_mode, log.network_launch_config) == ("log", "container", "app")
    assert log.data_volumes_from_launch_configs == ["data"]
    assert data.data_volumes == ["/data"]
    assert app.links == [("db", "db"), ("db", "database")]


@pytest.mark.parametrize(
    ("labels", "words"),
    [("io.rancher.sidekicks: nobody", "is not in the file"), ("io.rancher.sidekicks: app", "its own sidekick")],
)
def test_impossible_sidekicks_are_refused(labels: str, words: str) -> None:
    project = load(f"app: {{image: x, labels: {{{labels}}}}}\n")
    assert words in project.errors[0].message


def test_links_dependencies_and_external_links() -> None:
    service = good(
        "services:\n  web:\n    image: nginx\n    links: ['db:database', gone]\n    external_links: ['other/db:far', far2]\n"
        "    depends_on: {db: {condition: service_healthy}, cache: {required: false}}\n  db: {image: mysql}\n"
    ).services[0]
    assert service.links == [("db", "database")]
    assert service.external_links == [("other/db", "far"), ("far2", "far2")]
    assert service.depends_on == ["db"]


def test_declared_volumes_are_written_down_again() -> None:
    text = (
        "services:\n  web: {image: x, volumes: ['a:/a', 'b:/b', 'cc:/c:ro', 'd:/d', '/etc:/e']}\n"
        "volumes:\n  a: {driver_opts: {type: tmpfs}}\n  b: {external: true}\n  cc: {name: shared, driver: nfs}\n"
        "  d: {per_container: true}\n"
    )
    project = good(text, stack_name="shop")
    docker, rancher = dump(project.services, project.volumes, "shop")
    assert "shop_" not in docker, "it can be brought up under another name"
    again = load(docker, rancher, stack_name="shop")
    assert (again.services, again.volumes, again.problems) == (project.services, project.volumes, [])


def test_declared_volumes_carry_the_name_of_their_stack() -> None:
    text = (
        "services:\n  web: {image: x, volumes: ['a:/a', 'b:/b', 'c:/c', 'free:/d']}\n"
        "volumes:\n  a:\n  b: {external: true}\n  c: {name: shared, driver: nfs}\n"
    )
    project = good(text, stack_name="shop")
    config = project.services[0].launch_config
    assert config.data_volumes == ["shop_a:/a", "b:/b", "shared:/c", "free:/d"]
    assert config.volume_driver == "", "each volume has a driver of its own"
    assert {v.docker_name: v.driver for v in project.volumes} == {"shop_a": "", "b": "", "shared": "nfs"}


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("rancher/load-balancer-service", "loadBalancerService"),
        ("rancher/lb-service-haproxy:v0.9", "loadBalancerService"),
        ("rancher/dns-service", "dnsService"),
        ("rancher/external-service", "externalService"),
        ("nginx", "service"),
    ],
)
def test_the_image_tells_the_kind_of_service(image: str, kind: str) -> None:
    assert good(f"web: {{image: '{image}'}}\n").services[0].kind == kind


def test_env_files_lie_below_the_environment() -> None:
    files = {"a.env": "# c\nA=1\nexport B='two'\nC\n", "b.env": "B=3\nD=x # comment\n"}
    project = good(
        "web:\n  image: x\n  env_file: [a.env, b.env]\n  environment: {A: 9, E: }\n",
        files=files.__getitem__,
        environment={"C": "c", "E": "e"},
    )
    assert project.services[0].launch_config.environment == {"A": "9", "B": "3", "C": "c", "D": "x", "E": "e"}
    assert project.local


def test_extends_within_a_file_and_from_another() -> None:
    project = good(
        "services:\n  web:\n    extends: {service: base, file: base.yml}\n    environment: {B: 2}\n"
        "  more:\n    extends: web\n    command: sleep 1\n",
        files={"base.yml": "base:\n  image: nginx\n  links: [x]\n  environment: [A=1, B=1]\n"}.__getitem__,
    )
    one, two = project.services
    assert one.launch_config.environment == {"A": "1", "B": "2"}
    assert two.launch_config.image == "nginx"
    assert two.launch_config.command == ["sleep", "1"]
    assert one.links == []


def test_further_files_are_laid_over_the_first() -> None:
    project = good(
        "services:\n  web: {image: nginx, command: a, ports: ['80:80']}\n",
        overrides=[("prod.yml", "services:\n  web: {command: b, ports: ['81:81']}\n  db: {image: x}\n")],
    )
    config = project.services[0].launch_config
    assert config.command == ["b"]
    assert config.ports == ["80:80/tcp", "81:81/tcp"]
    assert project.services[1].name == "db"


def test_relative_folders_become_absolute_where_the_folder_is_known() -> None:
    project = good("web: {image: x, volumes: ['./a:/a', '../b:/b:ro']}\n", base_dir="/srv/shop")
    assert project.services[0].launch_config.data_volumes == ["/srv/shop/a:/a", "/srv/b:/b:ro"]
    assert project.local


def test_merge_keys_anchors_extensions_tabs_and_carriage_returns() -> None:
    project = good(
        "x-base: &base\r\n  image: nginx\t\r\n  restart: always\r\nservices:\r\n  web:\r\n    <<: *base\r\n    scale: 2\r\n"
    )
    assert project.services[0].launch_config.image == "nginx"
    assert project.services[0].scale == 2


def test_a_sidekick_of_several_services_is_beside_each_and_lends_its_volumes() -> None:
    text = """
version: '2'
services:
  one: {image: a, labels: {io.rancher.sidekicks: data}, volumes_from: [data]}
  two: {image: b, labels: {io.rancher.sidekicks: data}, volumes_from: [data], links: [data]}
  data: {image: c, external_links: ['other/db:store']}
"""
    project = load(text)
    assert project.valid, project.problems
    found = {service.name: service for service in project.services}
    assert set(found) == {"one", "two"}
    for service in found.values():
        assert [sidekick.name for sidekick in service.sidekicks] == ["data"]
        assert service.external_links == [("other/db", "store")]
        assert service.links == []
    apart = load(text + "  far: {image: d, volumes_from: [data]}\n")
    assert "only on the same host" in apart.errors[0].message


def test_a_section_of_rancher_compose_that_nobody_knows_is_ignored_and_said() -> None:
    project = load("web: {image: a}\n", "version: '2'\nservices:\n  web: {scale: 2}\nbackup: {every: day}\n")
    assert project.valid
    assert any("backup is ignored" in problem.message for problem in project.problems)


def test_numbers_that_are_written_as_text_are_numbers_in_a_scale_policy() -> None:
    project = load(
        "web: {image: a}\n",
        "web:\n  scale_policy: {min: '1', max: '${MOST}', increment: 1}\n",
        environment={"MOST": "4"},
    )
    assert project.services[0].extra["scale_policy"] == {"min": 1, "max": 4, "increment": 1}


def test_a_load_balancer_may_listen_on_another_port_than_its_targets_without_publishing_it() -> None:
    lb = good(
        "lb: {image: rancher/load-balancer-service, expose: ['3306:3307/tcp', '81'], links: [db]}\ndb: {image: a}\n"
    )
    service = next(one for one in lb.services if one.name == "lb")
    assert service.launch_config.expose == ["3306:3307/tcp", "81"]
    rules = from_compose(service.launch_config, service.extra, [ServiceLink(7, "db")], int, int).port_rules
    assert [(rule.source_port, rule.target_port, rule.protocol) for rule in rules] == [
        (3306, 3307, "tcp"),
        (81, 81, "http"),
    ]


def test_disks_resolver_options_and_name_spaces_are_read_and_written_back_the_same() -> None:
    text = """
web:
  image: a
  dns_opt: ['ndots:2', 'timeout:1']
  storage_opt: {size: 1G}
  userns_mode: host
  cpu_rt_period: 1ms
  cpu_rt_runtime: 950
  blkio_config:
    weight: 300
    weight_device: [{path: /dev/sda, weight: 400}]
    device_read_bps: [{path: /dev/sda, rate: 12mb}]
    device_write_iops: [{path: /dev/sdb, rate: 30}]
"""
    config = good(text).services[0].launch_config
    assert (config.dns_opt, config.storage_opt, config.userns_mode) == (
        ["ndots:2", "timeout:1"],
        {"size": "1G"},
        "host",
    )
    assert (config.cpu_realtime_period, config.cpu_realtime_runtime, config.blkio_weight) == (1000, 950, 300)
    assert config.blkio_device_options == {
        "/dev/sda": {"weight": 400, "readBps": 12 * 1024 * 1024}, "/dev/sdb": {"writeIops": 30},
    }  # fmt: skip
    assert good(*dump(good(text).services)).services[0].launch_config == config


@pytest.mark.parametrize(
    ("blkio", "words"),
    [
        ("{wieght: 3}", "did you mean weight"),
        ("{weight: 3}", "weight"),
        ("{device_read_bps: [{path: sda, rate: 1}]}", "a device such as /dev/sda"),
        ("{device_read_bps: [{path: /dev/sda}]}", "rate"),
        ("7", "must be a mapping"),
    ],
)
def test_what_is_no_limit_of_a_disk_is_refused(blkio: str, words: str) -> None:
    project = load(f"web: {{image: a, blkio_config: {blkio}}}\n")
    assert any(words in problem.message for problem in project.errors), project.problems
