"""The container of a load balancer, out of what its user asked for. Pure."""

from __future__ import annotations

import msgspec

from remuda.core import labels
from remuda.core.balancing.config import HEALTH_PORT
from remuda.core.placement.values import parse_port
from remuda.core.spec import HealthCheck, LaunchConfig

KIND = "loadBalancerService"
IMAGE = "remuda/balancer"


def launch(config: LaunchConfig, image: str = IMAGE) -> LaunchConfig:
    """Our image instead of the user's, and each port where its listener is.

    In the older form ``82:81`` means: listen on 82, send to port 81 of the targets; so the balancer's own port is 82 as well.
    """
    return msgspec.structs.replace(
        config,
        image_uuid=f"docker:{image}",
        labels={**config.labels, labels.BALANCER: "true"},
        command=None,
        entry_point=None,
        ports=[_port(text) for text in config.ports],
        expose=[_exposed(text) for text in config.expose],
        health_check=config.health_check
        or HealthCheck(
            port=HEALTH_PORT, interval=2000, response_timeout=2000, healthy_threshold=2, unhealthy_threshold=3
        ),
    )


def _port(text: str) -> str:
    port = parse_port(text.partition("/")[0])
    if port is None:
        return text
    bind = f"[{port.bind}]:" if ":" in port.bind else f"{port.bind}:" if port.bind else ""
    return f"{bind}{port.public}:{port.public}" if port.public else str(port.private)


def _exposed(text: str) -> str:
    return _port(text).rpartition(":")[2]
