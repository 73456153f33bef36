"""The OpenAPI document is sound for every role and version, and leaves out nothing that the schemas offer."""

from __future__ import annotations

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from remuda.schema.dialect import DIALECTS
from remuda.schema.fields import ADMIN, MEMBER, READONLY, RESTRICTED
from remuda.schema.openapi import document
from remuda.schema.registry import describe, visible

ROLES = (ADMIN, MEMBER, RESTRICTED, READONLY)


@pytest.mark.parametrize("version", DIALECTS)
@pytest.mark.parametrize("role", ROLES)
def test_the_document_is_sound(role: str, version: str) -> None:
    OpenAPIV31SpecValidator(document(role, version, "http://x/v1")).validate()  # type: ignore[arg-type]


@pytest.mark.parametrize("version", DIALECTS)
@pytest.mark.parametrize("role", ROLES)
def test_it_offers_what_the_schemas_offer_and_no_more(role: str, version: str) -> None:
    paths = document(role, version, "http://x/v1")["paths"]
    told = DIALECTS[version]
    for kind in visible(role):
        if kind.record is None:
            continue
        schema = describe(kind.id, role, version)
        plural = f"/{told.plural(kind).lower()}"
        many, one = paths.get(plural, {}), paths.get(f"{plural}/{{id}}", {})
        assert {m.upper() for m in many} == set(schema["collectionMethods"])
        assert {m.upper() for m in one if m not in ("parameters", "post")} == set(schema["resourceMethods"])
        offered = one["post"]["parameters"][0]["schema"]["enum"] if "post" in one else []
        assert set(offered) == set(schema["resourceActions"]) - {a.name for a in kind.actions if a.described_only}
        if "post" in many:
            sent = many["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
            assert set(sent) == {name for name, field in schema["resourceFields"].items() if field["create"]}
