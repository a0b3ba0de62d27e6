"""The page in a real Chromium: sign in, see the culprit, open the VM, look at its charts."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fleet_fake import HOSTILE, FleetFake, vm_id
from playwright.sync_api import Browser, BrowserContext, Page, expect
from web_app import build_app

from evenkeel.domain.errors import StoreUnavailable

pytestmark = pytest.mark.integration


class LiveFleet(FleetFake):
    """The fake as of now, whenever that is; `away` makes the store unavailable."""

    away = False

    def __init__(self) -> None:
        super().__init__(0.0)

    @property
    def now_s(self) -> float:
        return time.time()

    @now_s.setter
    def now_s(self, _: float) -> None:
        pass

    def status(self, who):
        if self.away:
            raise StoreUnavailable("the database does not answer")
        return super().status(who)


@pytest.fixture
def fleet() -> LiveFleet:
    return LiveFleet()


@pytest.fixture
def url(fleet: LiveFleet) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(build_app(fleet), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def context(browser: Browser, url: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser had to complain about: console errors, exceptions, refused loads."""
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str]) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if message.type in {"error", "warning"} else None
        ),
    )
    return page


def sign_in(page: Page, token: str = "admin-token", path: str = "/") -> None:
    page.goto(path)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("#live")


def n_painted(page: Page) -> list[int]:
    """Pixels of each canvas that are not transparent."""
    return page.evaluate(
        """() => [...document.querySelectorAll("#charts canvas")].map((canvas) => {
          const {width, height} = canvas;
          const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
          let n = 0;
          for (let i = 3; i < data.length; i += 4) n += data[i] > 0;
          return n;
        })"""
    )


def test_from_sign_in_to_the_culprit_to_the_charts(page, complaints, tmp_path):
    sign_in(page)
    first = page.locator("ol.alarms li").first
    expect(first).to_contain_text("batch7 hurts web1 on CPU")
    expect(page.locator("tr.silent").first).to_contain_text("silent for")

    cell = page.get_by_label("batch7 hurts web1")
    cell.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("probability 0.90, severity 40")
    page.screenshot(path=tmp_path / "fleet.png", full_page=True)

    cell.click()  # anywhere in the victim's row
    page.wait_for_url(f"**/vms/{vm_id('web1')}")
    expect(page.get_by_role("heading", level=1)).to_have_text("web1")
    expect(page.locator(".advice")).to_contain_text("keep batch7 off the CPUs of web1")
    page.wait_for_selector("#charts[aria-busy=false]")
    painted = n_painted(page)
    assert len(painted) == 8  # four resources, each what it got and what it lost
    assert min(painted) > 1000
    expect(page.locator("#charts [data-resource=cpu] figcaption")).to_contain_text("wanted")
    page.wait_for_selector("#fans[aria-busy=false]")
    fan = page.locator("#fans [data-resource=cpu]")
    expect(fan.locator("figcaption")).to_contain_text("chance that it needs")
    fan.hover()
    expect(fan.locator("figcaption")).to_contain_text("9 of 10 times")
    page.mouse.move(0, 0)

    page.get_by_role("link", name="6 h").click()
    page.wait_for_url("**range=21600")
    page.wait_for_selector("#charts[aria-busy=false]")
    page.screenshot(path=tmp_path / "vm.png", full_page=True)
    assert complaints == []


def test_a_hostile_name_is_shown_and_never_run(page, complaints):
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    sign_in(page, path="/vms/" + vm_id(HOSTILE))
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    page.goto("/")
    expect(page.get_by_role("link", name=HOSTILE).first).to_be_visible()
    assert complaints == []


def test_a_refresh_moves_nothing_and_keeps_the_focus(page, fleet, complaints):
    sign_in(page)
    page.locator(".heatmap a", has_text="web1").focus()
    where = "document.querySelector('#h-events').getBoundingClientRect().top"
    before, clock = page.evaluate(where), page.locator(".clock").inner_text()
    expect(page.locator(".clock")).not_to_have_text(clock, timeout=15_000)
    assert page.evaluate(where) == before
    assert page.evaluate("document.activeElement.textContent") == "web1"
    assert complaints == []


def test_a_page_that_cannot_refresh_says_how_old_it_is(page, fleet):
    sign_in(page)
    expect(page.locator("#stale")).to_be_hidden()
    fleet.away = True
    expect(page.locator("#stale")).to_contain_text("What you see is from", timeout=15_000)
    expect(page.locator("ol.alarms li").first).to_contain_text("batch7")
    fleet.away = False
    expect(page.locator("#stale")).to_be_hidden(timeout=15_000)
    assert page.locator("#stale").is_hidden()


def test_a_session_that_ends_leads_to_the_login(page, context):
    sign_in(page)
    context.clear_cookies()
    expect(page).to_have_url(re.compile("/login$"), timeout=15_000)
    assert page.locator("input[name=token]").is_visible(), "one can sign in there"


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    sign_in(page)
    for path in ("/", "/vms/web1", "/?host=host-a", "/reliability"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_tenant_sees_no_other_name(page, complaints):
    sign_in(page, "shop-token")
    expect(page.locator("ol.alarms li").first).to_contain_text("another tenant's VM hurts web1")
    assert "batch7" not in page.content()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_graph_and_the_reliability_of_the_scores(page, complaints, tmp_path, scheme):
    page.emulate_media(color_scheme=scheme)
    sign_in(page)
    graph = page.get_by_role("group", name="Graph of host-a")
    arrow = graph.locator("g.edge[data-tip*='batch7 hurts web1']")
    shaft = arrow.locator(".shaft")
    colour = shaft.evaluate("path => getComputedStyle(path).stroke")
    paper = page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
    assert colour not in ("none", paper)
    start, end = shaft.evaluate(
        """path => [0, path.getTotalLength()].map(at => {
          const {x, y} = path.getPointAtLength(at);
          return new DOMPoint(x, y).matrixTransform(path.getScreenCTM());
        }).map(({x, y}) => ({x, y}))"""
    )
    nodes = {
        name: graph.get_by_role("link", name=f"{name}: hurt").locator("circle").bounding_box()
        for name in ("batch7", "web1")
    }
    assert is_near(start, nodes["batch7"])
    assert is_near(end, nodes["web1"])
    page.screenshot(path=tmp_path / "graph.png", full_page=True)

    node = graph.get_by_role("link", name="web1: hurt by batch7 36 (CPU)")
    node.scroll_into_view_if_needed()
    page.wait_for_timeout(200)  # scrolling hides tips
    node.focus()
    expect(page.get_by_role("tooltip")).to_contain_text("hurts batch7 3 (CPU)")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/vms/{vm_id('web1')}")

    page.get_by_role("link", name="Reliability").click()
    page.wait_for_url("**/reliability")
    expect(page.get_by_role("img", name="Reliability diagram for the next 5")).to_be_visible()
    page.locator(".diagram .mark").nth(5).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("900 predictions: 35.2")
    page.screenshot(path=tmp_path / "reliability.png", full_page=True)
    page.get_by_role("link", name="Disk").click()
    expect(page.locator("#live svg.diagram")).to_have_count(1)
    assert complaints == []


def is_near(point: dict[str, float], box: dict[str, float]) -> bool:
    """Within a head's length of the circle's rim."""
    dx = point["x"] - box["x"] - box["width"] / 2
    dy = point["y"] - box["y"] - box["height"] / 2
    return (dx * dx + dy * dy) ** 0.5 < box["width"] / 2 + 25
