"""Who may come in by a provider's word, and the role that several names give together."""

from __future__ import annotations

import pytest

from remuda.core.logins import KINDS, MODES, admits, keys_of, split, strongest

ANN = ["github_user:11", "github_team:70"]


@pytest.mark.parametrize(
    ("mode", "allowed", "member", "inside"),
    [
        ("unrestricted", set(), False, True),
        ("restricted", set(), False, False),
        ("restricted", set(), True, True),
        ("restricted", {"github_team:70"}, False, True),
        ("required", set(), True, False),
        ("required", {"github_user:11"}, False, True),
        ("required", {"github_user:1"}, True, False),
        ("something else", set(), True, False),
    ],
)
def test_a_mode_lets_in_whom_it_says(mode: str, allowed: set[str], member: bool, inside: bool) -> None:
    assert admits(mode, allowed, ANN, is_member=member) is inside
    assert mode in MODES or not inside


def test_the_strongest_of_several_roles_counts() -> None:
    assert strongest(["readonly", "member", "restricted"]) == "member"
    assert strongest(["owner", "member"]) == "owner"


def test_names_are_split_at_their_first_colon_and_only_known_kinds_are_names() -> None:
    assert split("openldap_group:cn=a:b,dc=x") == ("openldap_group", "cn=a:b,dc=x")
    assert [split(name) for name in ("rancher_id:1a5", "github_user:", "github_user", "", None)] == [None] * 5
    assert all(split(f"{kind}:1") == (kind, "1") for kind in KINDS)


def test_a_login_is_remembered_by_the_person_and_their_groups() -> None:
    told = {"user": {"kind": "oidc_user", "id": "s"}, "groups": [{"kind": "oidc_group", "id": "g"}]}
    assert keys_of(told) == ["oidc_user:s", "oidc_group:g"]
    assert keys_of({}) == []
