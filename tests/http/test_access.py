"""Default deny: every route lets in those it declares, and nobody else."""

from __future__ import annotations

import re

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from tests.controller_app import ORIGIN, Api, bearer

from evenkeel.api.access import COOKIE, PUBLIC_PATHS, declared_roles, every_route
from evenkeel.api.app import create_app
from evenkeel.api.reader import Role

SUBJECTS = {Role.ADMIN: "ann", Role.AGENT: "h1", Role.TENANT: "shop"}


def guarded(api: Api) -> list[tuple[str, str, frozenset[Role]]]:
    """(method, path, roles) of every route that is not public."""
    found = []
    for route in every_route(api.app.routes):
        if isinstance(route, APIRoute) and route.path not in PUBLIC_PATHS:
            roles = declared_roles(route)
            assert roles
            path = re.sub(r"\{[^}]+\}", "x", route.path)
            found += [(method, path, roles) for method in route.methods]
    return found


def test_every_route_refuses_whom_it_does_not_list(api: Api) -> None:
    tokens = {role: api.token(role.value, subject) for role, subject in SUBJECTS.items()}
    routes = guarded(api)
    assert len(routes) >= 17
    for method, path, roles in routes:
        assert api.refused(api.client.request(method, path)) == (401, "unauthenticated")
        wrong = api.client.request(method, path, headers=bearer("ek_wrong"))
        assert api.refused(wrong) == (401, "unauthenticated")
        for role, token in tokens.items():
            answer = api.client.request(method, path, headers=bearer(token))
            if role in roles:
                assert answer.status_code not in (401, 405), (method, path, role)
            else:
                assert api.refused(answer) == (403, "forbidden"), (method, path, role)


def test_every_documented_path_is_declared(api: Api) -> None:
    schema = api.client.get("/openapi.json").json()
    documented = {
        (method.upper(), path) for path, item in schema["paths"].items() for method in item
    }
    declared = {
        (method, route.path)
        for route in every_route(api.app.routes)
        if isinstance(route, APIRoute)
        for method in route.methods
        if route.include_in_schema
    }
    assert documented == declared
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)


def print_nothing() -> None: ...


def test_a_route_that_declares_nothing_does_not_start(api: Api) -> None:
    forgotten = APIRouter()
    forgotten.add_api_route("/v1/secrets", print_nothing)
    with pytest.raises(RuntimeError, match="/v1/secrets"):
        create_app(api.services, [forgotten])


def test_a_revoked_token_and_its_session_are_refused(api: Api) -> None:
    token = api.token("tenant", "shop")
    sign_in = api.client.post("/login", data={"token": token})
    assert sign_in.status_code == 303
    assert api.client.get("/v1/status").status_code == 200
    listed = api.get("/v1/tokens")["items"]
    (token_id,) = [one["id"] for one in listed if one["subject"] == "shop"]
    assert api.client.delete(f"/v1/tokens/{token_id}", headers=bearer(api.admin)).status_code == 204
    answer = api.client.get("/v1/status", headers=bearer(token))
    assert api.refused(answer) == (401, "token_revoked")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert api.refused(api.client.get("/v1/status")) == (401, "token_revoked")


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_do_not_get(api: Api) -> None:
    answer = api.client.post("/login", data={"token": api.admin, "next": "/vms/x"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/vms/x")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert api.admin not in cookie
    out = api.client.post("/logout")
    assert out.status_code == 303
    assert api.refused(api.client.get("/v1/status")) == (401, "unauthenticated")


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil", "x"])
def test_signing_in_never_leads_elsewhere(api: Api, target: str) -> None:
    answer = api.client.post("/login", data={"token": api.admin, "next": target})
    assert answer.headers["location"] == "/"


def test_signing_in_with_a_wrong_token_leads_back_to_the_form(api: Api) -> None:
    for token, code in (
        ("", "unauthenticated"),
        ("nonsense\x00", "unauthenticated"),
        (api.token("agent", "h1"), "forbidden"),
    ):
        answer = api.client.post("/login", data={"token": token})
        assert answer.headers["location"] == f"/login?error={code}"
        assert "set-cookie" not in answer.headers


def test_a_session_changes_things_only_from_the_page_itself(api: Api) -> None:
    api.client.post("/login", data={"token": api.admin})
    body = {"mode": "act"}
    for headers in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
        answer = api.client.put("/v1/mode", json=body, headers=headers)
        assert api.refused(answer) == (403, "forbidden")
    assert api.client.put("/v1/mode", json=body, headers={"origin": ORIGIN}).status_code == 200
    elsewhere = api.client.post(
        "/login", data={"token": api.admin}, headers={"origin": "http://evil.example"}
    )
    assert api.refused(elsewhere) == (403, "forbidden")


def test_a_forged_or_old_session_is_refused(api: Api) -> None:
    api.client.post("/login", data={"token": api.admin})
    cookie = api.client.cookies[COOKIE]
    token_id, expires, signature = cookie.split(".")
    for forged in (
        f"{token_id}.{int(expires) + 9999}.{signature}",
        f"other.{expires}.{signature}",
        f"{token_id}.{expires}.",
        "x",
    ):
        answer = api.client.get("/v1/status", headers={"cookie": f"{COOKIE}={forged}"})
        assert api.refused(answer) == (401, "unauthenticated")
    api.clock.now_s += 13 * 3600
    answer = api.client.get("/v1/status", headers={"cookie": f"{COOKIE}={cookie}"})
    assert api.refused(answer) == (401, "unauthenticated")


def test_tokens_are_shown_once_and_the_last_admin_stays(api: Api) -> None:
    made = api.client.post(
        "/v1/tokens", json={"role": "agent", "subject": "h1"}, headers=bearer(api.admin)
    )
    assert made.status_code == 201
    secret = made.json()["token"]
    listed = api.get("/v1/tokens")["items"]
    assert all(one["token"] is None for one in listed)
    assert secret not in str(api.get("/v1/events"))
    (admin,) = [one for one in listed if one["role"] == "admin"]
    last = api.client.delete(f"/v1/tokens/{admin['id']}", headers=bearer(api.admin))
    assert api.refused(last) == (422, "invalid_request")
    missing = api.client.delete("/v1/tokens/nope", headers=bearer(api.admin))
    assert api.refused(missing) == (404, "not_found")
    for bad in ({"role": "root", "subject": "x"}, {"role": "agent", "subject": "a\x00b"}, {}):
        answer = api.client.post("/v1/tokens", json=bad, headers=bearer(api.admin))
        assert api.refused(answer) == (422, "invalid_request")
