"""The reliability page and the graph over HTTP."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from fleet_fake import HOSTILE, FleetFake, vm_id
from web_app import NOW_S, client_for, text_of


@pytest.fixture
def page() -> TestClient:
    return client_for(FleetFake(NOW_S))


def test_a_diagram_a_table_and_a_verdict_for_each_horizon(page):
    html = page.get("/reliability").text
    assert html.count('<svg class="diagram"') == 2
    text = text_of(html)
    assert "For the next 5 s ● within 2 points in every populated bin (10 of 11)" in text
    assert "For the next 1 min ▲ -6.8 points in the worst populated bin (7 of 8 judged)" in text
    assert re.search(r"30–40.* 900 35\.2 % 36\.1 % \+0\.9 1\.2", text)
    assert html.count('class="mark') == len(re.findall(r"data-tip=\"Predicted", html))
    assert 'class="mark far"' in html


def test_it_can_be_narrowed_and_says_where_one_is(page):
    html = page.get("/reliability?resource=iops&hours=168&host=host-a").text
    chosen = re.findall(r'<a[^>]*aria-current="true"[^>]*>([^<]*)</a>', html)
    assert chosen == ["Disk", "7 d", "host-a"]
    assert 'href="/reliability?host=host-a&amp;resource=cpu&amp;hours=168"' in html
    assert 'href="/reliability?resource=iops&amp;hours=168">all hosts' in html
    assert page.get("/reliability?resource=gold").status_code == 422
    assert page.get("/reliability?hours=0").status_code == 422
    assert page.get("/reliability?host=nosuch").status_code == 404


def test_before_anything_was_counted_it_says_so():
    text = text_of(client_for(FleetFake(NOW_S, empty=True)).get("/reliability").text)
    assert "Nothing to judge yet." in text


def test_it_is_the_operators():
    page = client_for(FleetFake(NOW_S), "shop-token")
    assert page.get("/reliability").status_code == 403
    assert "/reliability" not in page.get("/").text
    assert client_for(FleetFake(NOW_S), "").get("/reliability").headers["location"] == (
        "/login?next=/reliability"
    )


def test_the_page_is_as_strict_as_the_others(page):
    response = page.get("/reliability")
    assert "unsafe" not in response.headers["content-security-policy"]
    assert " style=" not in response.text
    for url in re.findall(r"\"(/static/[^\"]+)\"", response.text):
        assert page.get(url).status_code == 200


def test_the_graph_stands_beside_the_heat_map_and_speaks(page):
    html = page.get("/?host=host-a").text
    (graph,) = re.findall(r'<figure class="graph">.*?</figure>', html, re.S)
    assert graph.count('class="edge heat-') == 6  # a pair on two resources is one arrow
    assert f'href="/vms/{vm_id("web1")}"' in graph
    assert 'aria-label="web1: hurt by batch7 36 (CPU); hurts batch7 3 (CPU)"' in graph
    assert "CPU: score 36, probability 0.90" in graph
    assert " style=" not in graph
    assert 'class="graph' not in page.get("/?host=host-c").text  # nobody hurts anybody there


def test_a_hostile_name_stays_text_in_the_graph(page):
    html = page.get("/?host=host-b").text
    assert 'class="graph"' in html
    assert HOSTILE not in html


def test_a_tenant_sees_no_other_name_in_the_graph():
    html = client_for(FleetFake(NOW_S), "shop-token").get("/").text
    assert 'class="graph"' in html
    assert "batch7" not in html


def test_what_is_not_as_predicted_is_said_on_the_map_and_the_vm(page):
    told = "batch7 costs web2 more memory: 24 % measured, 2 % predicted for the next 5 s"
    for path in ("/?host=host-a", "/vms/web2", "/vms/batch7"):
        assert told in text_of(page.get(path).text)
    assert "Not as predicted" not in page.get("/vms/web1").text
