"""The page over HTTP, on the fleet fake: what is said, to whom, and with which headers."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from fleet_fake import HOSTILE, FleetFake, vm_id
from web_app import NOW_S, client_for, text_of

from evenkeel.api.routes_plans import AdviceOut
from evenkeel.domain.errors import Forbidden, StoreUnavailable
from evenkeel.domain.host import Mode

HTMX = {"HX-Request": "true"}


@pytest.fixture
def fleet() -> FleetFake:
    return FleetFake(NOW_S)


@pytest.fixture
def page(fleet: FleetFake) -> TestClient:
    return client_for(fleet)


def test_the_fleet_names_the_culprit_worst_first(page):
    html = page.get("/").text
    text = text_of(html)
    assert re.search(r"batch7 hurts web1 on CPU probability 0\.90 severity 40 % conf", text)
    assert text.index("batch7 hurts web1") < text.index("stream hurts api1")
    assert "<title>(2) Fleet" in html


def test_the_plan_that_stands_is_told_to_operators_alone(fleet):
    state = {"n_in_use": 2, "n_at_risk": 0, "worst_odds": 0.0, "lost_pct": 0.0}
    move = {"vm": "v", "name": "db1", "source": "h2", "target": "h1", "wave": 0, "lots": []}
    advice = AdviceOut.model_validate(
        {
            "moves": [move],
            "why": "1 move, hosts in use 2 -> 1.",
            "n_waves": 1,
            "before": state,
            "after": state,
            "saved_host_hours": 23.9,
            "floor_hosts": 1,
            "gap": 0.0,
            "from_best": None,
            "left": [],
            "since_s": NOW_S - 120,
            "looked_at_s": NOW_S - 5,
            "turn": "first",
            "seconds": 0.1,
            "alarm": 0.025,
            "trouble": "",
        }
    )
    text = text_of(client_for(fleet, advice=lambda: advice).get("/").text)
    assert "Who should move 1 move, hosts in use 2 -&gt; 1." in text
    assert "given 2 min ago" in text
    assert "Who should move" not in client_for(fleet, "shop-token", lambda: advice).get("/").text
    done = advice.model_copy(update={"moves": []})
    assert "Who should move" not in client_for(fleet, advice=lambda: done).get("/").text


def test_silent_hosts_are_never_green(page):
    html = page.get("/").text
    row = re.findall(r"<tr[^>]*class=\"silent\"[^>]*>.*?</tr>", html, re.S)[0]
    assert "host-c" in row
    assert "silent for 4" in row
    assert "state ok" not in row
    assert "journal unavailable" in html
    assert text_of(html).count("silent") >= 3


def test_vms_of_a_silent_host_are_unknown_not_idle(page):
    text = text_of(page.get("/?host=host-c").text)
    assert re.search(r"wiki 1 vCPU, 2 GiB host-c unknown", text)
    assert "host-c running" not in text


def test_the_heat_map_has_headers_letters_evidence_and_the_host(page):
    html = page.get("/?host=host-a").text
    table = html[html.index('class="heatmap"') : html.index("</table>", html.index('heatmap"'))]
    assert table.count('scope="row"') == 6
    assert table.count('scope="col"') == 8
    assert "36<small>C</small>" in table
    assert "CPU: score 36, probability 0.90, severity 40\u202f%, confidence 0.90" in table
    assert "memory: score 4" in table
    assert '<td class="heat-4 alarm">' in table
    assert "the host" in table


def test_one_host_alone(page):
    text = text_of(page.get("/?host=host-b").text)
    assert "Contention map" in text
    assert "ci-runner-03" not in text
    assert page.get("/?host=nosuch").status_code == 404


def test_a_refresh_gets_the_inner_part_alone(page):
    whole, part = page.get("/").text, page.get("/", headers=HTMX).text
    assert "<html" in whole
    assert "<html" not in part
    assert part[part.index('<div id="live"') :].strip() in whole
    assert 'hx-get="/"' in part
    assert part.count("<title>") == 1


@pytest.mark.parametrize("path", ["/", "/vms/" + vm_id(HOSTILE)])
def test_a_hostile_name_stays_text(page, path):
    html = page.get(path).text
    assert HOSTILE not in html
    assert "&lt;script&gt;alert(" in html
    assert not re.search(r"<script(?! src=\"/static/)", html)


@pytest.mark.parametrize("path", ["/", "/login", "/vms/" + vm_id("web1"), "/vms/nosuch"])
def test_every_page_is_strict_about_what_it_loads(page, path):
    response = page.get(path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert " style=" not in response.text
    assert not re.search(r" on[a-z]+=", response.text)
    assert not re.search(r"(src|href)=\"(https?:)?//", response.text)


def test_a_vm_says_why_and_what_would_help(page):
    text = text_of(page.get("/vms/" + vm_id("web1")).text)
    for words in (
        "web1 is expected to lose 36 % of the CPU it wants because of batch7",
        "12 samples in 1 min",
        "keep batch7 off the CPUs of web1",
        "predicted loss afterwards 3 %",
        "would take half of what it wants",
        "did not help, undone",
        "active, being measured",
        "Predicted against measured loss",
    ):
        assert words in text


def test_a_vm_by_name_and_a_range(page):
    html = page.get("/vms/web1?range=3600").text
    assert re.search(r'range=3600" aria-current="true"', html)
    assert page.get("/vms/web1?range=7").text.count('aria-current="true"') == 1
    assert page.get("/vms/web1?range=x").status_code == 422


def test_a_vm_on_a_silent_host_is_old(page):
    assert "Its host is silent" in page.get("/vms/wiki").text
    assert "Its host is silent" not in page.get("/vms/web1").text


def test_charts_give_every_resource_and_the_marks_of_fixes_in_force(page):
    data = page.get(f"/vms/{vm_id('web1')}/charts?range=3600").json()
    assert [chart["resource"] for chart in data["charts"]] == ["cpu", "memory", "net", "iops"]
    cpu = data["charts"][0]
    assert len(cpu["series"]["at_s"]) == 720
    marks = [(m["from_s"] - NOW_S, m["to_s"] - NOW_S, m["good"]) for m in cpu["marks"]]
    assert marks == [(-12, 0, None), (-700, -640, False), (-2900, -2700, True)]
    assert data["charts"][1]["marks"] == []
    recent = page.get(f"/vms/{vm_id('web1')}/charts").json()
    assert len(recent["charts"][0]["marks"]) == 2


def test_a_tenant_sees_its_own_and_no_other_name(fleet):
    page = client_for(fleet, "shop-token")
    for path in ("/", "/vms/web1"):
        html = page.get(path).text
        assert "web1" in html
        assert "another tenant" in html
        for foreign in ("batch7", "cache1", "stream", vm_id("batch7")):
            assert foreign not in html
    assert page.get("/vms/" + vm_id("batch7")).status_code == 404
    assert page.get(f"/vms/{vm_id('batch7')}/charts").status_code == 404


def test_a_tenant_that_may_see_no_events_still_gets_the_rest(fleet, monkeypatch):
    def refuse(*_args: object, **_kw: object) -> None:
        raise Forbidden("not yours")

    monkeypatch.setattr(FleetFake, "events", refuse)
    text = text_of(client_for(fleet, "shop-token").get("/").text)
    assert "web1" in text
    assert "Contention map" in text


def test_a_tenant_learns_that_a_host_of_its_vms_is_silent(fleet):
    text = text_of(client_for(fleet, "infra-token").get("/").text)
    assert "host-c is silent" in text
    assert "No silent host" not in text
    assert re.search(r"wiki 1 vCPU, 2 GiB host-c unknown", text)


def test_a_host_in_trouble_is_listed_once(page):
    (section,) = re.findall(r"Needs a look.*?</section>", page.get("/").text, re.S)
    assert text_of(section).count("host-c") == 1
    assert text_of(section).count("host-b") == 1


def test_an_empty_fleet_teaches():
    text = text_of(client_for(FleetFake(NOW_S, empty=True)).get("/").text)
    assert "No agent has reported yet" in text
    assert "evenkeel token create agent HOST" in text


def test_when_every_host_is_silent_nobody_says_that_all_is_well(fleet):
    fleet.names = ["backup", "wiki"]
    text = text_of(client_for(fleet).get("/").text)
    assert "Nothing is known now." in text
    assert "gets what it wants" not in text


def test_without_acting_the_page_says_so():
    text = text_of(client_for(FleetFake(NOW_S, Mode.OBSERVE)).get("/?host=host-b").text)
    assert "observe scores only" in text
    assert "evenkeel mode act" in text


def test_strangers_are_sent_to_the_login(fleet):
    page = client_for(fleet, "")
    assert page.get("/").headers["location"] == "/login"
    assert page.get("/vms/web1").headers["location"] == "/login?next=/vms/web1"
    refreshed = page.get("/", headers=HTMX)
    assert refreshed.status_code == 401
    assert refreshed.headers["hx-redirect"] == "/login"
    assert page.get("/vms/web1/charts").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(page, target):
    html = page.get("/login", params={"next": target}).text
    assert "evil" not in html
    assert 'name="next" value="/"' in html


def test_a_failed_login_says_why(page):
    assert "Is it complete?" in page.get("/login?error=unauthenticated").text
    assert "You are signed out." in page.get("/login?error=signed_out").text
    assert "<b>x" not in page.get("/login?error=<b>x").text


def test_a_store_that_is_away_is_a_page_not_a_trace(page, monkeypatch):
    def away(*_: object) -> None:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(FleetFake, "status", away)
    response = page.get("/")
    assert response.status_code == 503
    assert "The database does not answer" in response.text
    assert "store_unavailable" in response.text


def test_static_files_are_found_kept_and_confined(page):
    urls = re.findall(r"\"(/static/[^\"]+)\"", page.get("/vms/web1").text)
    assert len(urls) == 10
    for url in urls:
        response = page.get(url)
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]
        again = page.get(url, headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
    assert page.get("/static/vendor/htmx.LICENSE.txt").status_code == 200
    for path in ("/static/../router.py", "/static/%2e%2e/router.py", "/static/vendor"):
        assert page.get(path).status_code == 404
