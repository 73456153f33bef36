"""Load balancers: services whose containers we make, from rules.

Rules come in two forms. The newer one, ``lbConfig``, says them. In the older one they follow from the ports, the links (each of
which may be narrowed to ports, hosts and paths), the labels and ``loadBalancerConfig``, and are worked out anew each time.
"""

from __future__ import annotations

from typing import Any

import msgspec

from remuda.api.behaviour import Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.resources.services import Services, change_service, sidekicks_named
from remuda.core import ids
from remuda.core.balancing import compose as balancing
from remuda.core.balancing.config import LbConfig
from remuda.core.model import Record, Service, Stack
from remuda.core.spec import LaunchConfig
from remuda.ports.store import ALIVE, Tx, eq

IMAGE = "docker:rancher/lb-service-haproxy"
_OLDER = "older"
"""In a service's data: its rules follow from the rest."""


class Balancers(Services):
    """Rules that could not be served are refused; the image is ours."""

    def check(self, values: Values) -> None:
        _served(values.get("lbConfig"))
        if values.get("launchConfig") is None:
            values["launchConfig"] = LaunchConfig(image_uuid=IMAGE)
        sidekicks_named(values.get("secondaryLaunchConfigs"))

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        return _marked(tx, super().create(tx, ctx, values), values.get("lbConfig"))

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        if "lbConfig" not in values:
            return super().update(tx, ctx, record, values)
        _served(values["lbConfig"])
        return _marked(tx, super().update(tx, ctx, record, values), values["lbConfig"])

    def set_links(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return self.completed(tx, super().set_links(tx, ctx, record, values))

    def add_link(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return self.completed(tx, super().add_link(tx, ctx, record, values))

    def remove_link(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return self.completed(tx, super().remove_link(tx, ctx, record, values))

    def completed(self, tx: Tx, record: Any) -> Record:
        """The rules of the older form as they follow now."""
        if not record.data.get(_OLDER):
            return record  # type: ignore[no-any-return]
        config = _followed(tx, record)
        return record if config == record.lb_config else change_service(tx, record, lb_config=config)


def _marked(tx: Tx, record: Any, said: LbConfig | None) -> Record:
    older = said is None
    if bool(record.data.get(_OLDER)) == older:
        return record  # type: ignore[no-any-return]
    return tx.update(record, data={**record.data, _OLDER: older})  # type: ignore[no-any-return]


def _served(config: LbConfig | None) -> None:
    try:
        balancing.check(config or LbConfig())
    except ValueError as error:
        raise ApiError(422, "InvalidFormat", f"'lbConfig': {error}.", field="lbConfig") from None


def _followed(tx: Tx, service: Service) -> LbConfig:
    told = service.data.get("fields", {})
    older = told.get("loadBalancerConfig") or {}
    sticky = older.get("lbCookieStickinessPolicy")
    extra = {
        "load_balancer_config": {"haproxy_config": older.get("haproxyConfig"), "lb_cookie_stickiness_policy": sticky},
        "default_cert": told.get("defaultCertificateId"),
        "certs": told.get("certificateIds") or [],
    }
    config = service.launch_config or LaunchConfig()
    # where nothing is linked yet there is nothing to serve, and a target label may name what is still to come
    config = config if service.links else msgspec.structs.replace(config, labels={})
    try:
        return balancing.from_compose(
            config, extra, service.links, lambda name: _number(tx, service, name), _certificate
        )
    except ValueError as error:
        raise ApiError(422, "InvalidFormat", f"'serviceLinks': {error}.", field="serviceLinks") from None


def _number(tx: Tx, service: Service, name: str) -> int:
    """The service that a label names: of the same stack, or ``stack/service``."""
    stack_name, _, own = name.rpartition("/")
    stack = (
        tx.first(Stack, eq("account_id", service.account_id), eq("name", stack_name), ALIVE)
        if stack_name
        else tx.get(Stack, service.stack_id)
    )
    found = tx.first(Service, eq("stack_id", stack.id), eq("name", own), ALIVE) if stack is not None else None
    if found is None:
        raise ValueError(f"a label names the service {name}, and there is none")
    return found.id


def _certificate(public: str) -> int:
    number = ids.number(public)
    if number is None:
        raise ValueError(f"{public!r} is no certificate's id")
    return number
