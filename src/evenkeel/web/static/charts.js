/* Draws #charts: per resource what the VM wanted and got, below it the loss; fixes as shaded spans. */
"use strict";
(() => {
  const box = document.getElementById("charts");
  if (!box) return;
  const REFRESH_MS = 5000;
  const css = getComputedStyle(document.documentElement);
  const color = (name) => css.getPropertyValue(`--${name}`).trim();
  const faded = (name, percent) => `color-mix(in srgb, ${color(name)} ${percent}%, transparent)`;
  const drawn = new Map(); // resource -> {main, strip, marks}
  let failed = false;

  const number = (value) => value == null ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
  const share = (value) => value == null ? "–" : `${(100 * value).toFixed(0)} %`;
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);
  const asDate = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");

  function axis(side, size, values) {
    return { side, size, values, stroke: color("dim"), font: "11px system-ui", grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, gap: 4 };
  }

  function shadeMarks(state) {
    return (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      for (const mark of state.marks) {
        const left = Math.max(bbox.left, plot.valToPos(mark.from_s, "x", true));
        const right = Math.min(bbox.left + bbox.width, plot.valToPos(mark.to_s, "x", true));
        if (right < bbox.left || left > bbox.left + bbox.width) continue;
        const tone = mark.good === false ? "loss" : "mark";
        ctx.fillStyle = faded(tone, 14);
        ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
        ctx.fillStyle = color(tone);
        ctx.fillRect(left, bbox.top, 2, bbox.height);
      }
      ctx.restore();
    };
  }

  function options(node, height, state, y, axes, series, bands) {
    return {
      width: node.clientWidth, height, tzDate: asDate, series, bands, padding: [8, 4, 0, 0],
      scales: { x: { time: true, range: () => state.window }, y },
      axes, legend: { show: false }, hooks: { drawClear: [shadeMarks(state)], setCursor: [(plot) => caption(state, plot.cursor.idx)] },
      cursor: { sync: { key: "vm" }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
    };
  }

  function draw(figure, chart) {
    const state = { figure, chart, marks: chart.marks, window: [0, 1] };
    const [plotNode, stripNode] = [figure.querySelector(".plot"), figure.querySelector(".strip")];
    const hours = (_, splits) => splits.map((seconds) => clock(seconds).slice(0, 5));
    const line = (label, tone, extra) => ({ label, stroke: color(tone), width: 1.75, points: { show: false }, ...extra });
    state.main = new uPlot(options(plotNode, 170, state, { range: (_, low, high) => [0, high > 0 ? high * 1.12 : 1] },
      [axis(2, 4, () => []), axis(3, 48, (_, splits) => splits.map((v) => v >= 1000 ? `${v / 1000}k` : `${+v.toPrecision(3)}`))],
      [{}, line("wanted", "demand"), line("got", "usage")],
      [{ series: [1, 2], fill: faded("loss", 22) }]), [[], [], []], plotNode);
    state.strip = new uPlot(options(stripNode, 74, state, { range: (_, low, high) => [0, Math.max(0.1, Math.min(1, high * 1.15))] },
      [axis(2, 22, hours), { ...axis(3, 48, (_, splits) => splits.map((v) => `${Math.round(100 * v)} %`)), space: 24 }],
      [{}, line("loss", "loss", { fill: faded("loss", 40) }), line("by its own limit", "self", { dash: [5, 4], width: 1.5 })]),
      [[], [], []], stripNode);
    return state;
  }

  function caption(state, index) {
    const { series, label, marks } = state.chart;
    const last = series.at_s.length - 1;
    const i = index ?? last;
    if (last < 0) return;
    const at = series.at_s[i];
    const mark = marks.find((m) => m.from_s <= at && at <= m.to_s);
    const [name, words] = state.figure.querySelector("figcaption").children;
    name.textContent = `${label[0].toUpperCase()}${label.slice(1)}, ${series.unit}`;
    const text = `wanted ${number(series.demand[i])}, got ${number(series.usage[i])}, loss ${share(series.loss[i])}`;
    words.textContent = `${clock(at)}  ${text}`;
    words.title = mark ? mark.label : "";
    const canvas = state.figure.querySelectorAll("canvas");
    for (const each of canvas) { each.setAttribute("role", "img"); each.setAttribute("aria-label", `${label}: ${text}`); }
  }

  function show(data) {
    for (const chart of data.charts) {
      const figure = box.querySelector(`[data-resource="${chart.resource}"]`);
      const { series } = chart;
      const known = ["demand", "usage", "loss"].some((key) => series[key].some((value) => value != null));
      const head = figure.querySelector("figcaption");
      if (!head.children.length) head.append(document.createElement("b"), document.createElement("span"));
      if (!known) {
        if (drawn.has(chart.resource)) continue;
        head.children[0].textContent = `${chart.label[0].toUpperCase()}${chart.label.slice(1)}`;
        figure.classList.add("blank");
        figure.querySelector(".plot").textContent = "Nothing was measured in this time.";
        continue;
      }
      if (figure.classList.contains("blank")) { figure.classList.remove("blank"); figure.querySelector(".plot").textContent = ""; }
      let state = drawn.get(chart.resource);
      if (!state) drawn.set(chart.resource, state = draw(figure, chart));
      Object.assign(state, { chart, marks: chart.marks, window: [data.since_s, data.until_s] });
      state.main.setData([series.at_s, series.demand, series.usage]);
      state.strip.setData([series.at_s, series.loss, series.self_limited]);
      caption(state, null);
    }
    box.setAttribute("aria-busy", "false");
  }

  function resize() {
    for (const { figure, main, strip } of drawn.values()) {
      main.setSize({ width: figure.clientWidth, height: 170 });
      strip.setSize({ width: figure.clientWidth, height: 74 });
    }
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const response = await fetch(box.dataset.url, { credentials: "same-origin" });
      if (response.ok) show(await response.json());
      failed = !response.ok;
    } catch { failed = true; }
    if (failed && !drawn.size) box.setAttribute("data-failed", "");
  }
  // A changed theme changes every colour on the canvases: draw them anew.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const { main, strip } of drawn.values()) { main.destroy(); strip.destroy(); }
    drawn.clear();
    refresh();
  });
  new ResizeObserver(resize).observe(box);
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, REFRESH_MS);
  refresh();
})();
