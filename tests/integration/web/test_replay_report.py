"""The report of a replay in a real Chromium: alone, light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.replays import a_recording, an_outcome

from evenkeel.bench.replay_report import report

pytestmark = pytest.mark.integration

HOSTILE = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fleet = a_recording(60, 2016, prefix=HOSTILE)
    names = ("stay", "best-fit", "balance", "thr-mmt", "evenkeel", "evenkeel-moves")
    outcomes = [
        an_outcome(name, fleet, k, energy_kwh=100.0 - 4 * k, migrations=40.0 * k)
        for k, name in enumerate(names)
    ]
    return report(fleet, outcomes, tmp_path_factory.mktemp("report"), 7)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_it_renders_alone(browser: Browser, page_file: Path, scheme: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_load_state("networkidle")
    assert said == []
    assert asked == [page_file.as_uri()], "itself, and nothing else"
    assert page.title() == "Replay: a made-up fleet"
    assert page.get_by_role("heading", level=1).inner_text().startswith("What each policy")
    assert page.get_by_role("img").count() == 5
    names = page.locator("bdi").all_inner_texts()
    assert len(names) == 60
    assert all(name.startswith(HOSTILE) for name in names)
    assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out"
    story = page.get_by_text("20.0 % less than with stay").bounding_box()
    assert story is not None
    dark, ink, ratio = page.evaluate(CONTRAST)
    assert dark == (scheme == "dark"), ink
    assert ratio > 7
    colours = page.evaluate(
        "[...document.querySelectorAll('figure path')].map(p => getComputedStyle(p).stroke)"
    )
    assert len(set(colours)) == 6
    heights = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().height)"
    )
    assert min(heights) > 100
    page.close()


CONTRAST = """() => {
  const of = c => c.match(/[0-9.]+/g).slice(0, 3).map(v => {
    v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 })
  const light = c => { const [r, g, b] = of(c); return .2126 * r + .7152 * g + .0722 * b }
  const style = getComputedStyle(document.body)
  const ink = light(style.color), paper = light(style.backgroundColor)
  const ratio = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05)
  return [ink > paper, style.color, ratio]
}"""
