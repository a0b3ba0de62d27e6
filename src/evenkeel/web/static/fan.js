/* Draws #fans: what a VM wanted, then the forecast: median line, 50 % and 90 % bands. */
"use strict";
(() => {
  const box = document.getElementById("fans");
  if (!box) return;
  const REFRESH_MS = 15000;
  const css = getComputedStyle(document.documentElement);
  const color = (name) => css.getPropertyValue(`--${name}`).trim();
  const faded = (name, percent) => `color-mix(in srgb, ${color(name)} ${percent}%, transparent)`;
  const drawn = new Map(); // resource -> {figure, plot, fan}
  const number = (value) => value == null ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);
  const asDate = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
  const titled = (text) => `${text[0].toUpperCase()}${text.slice(1)}`;

  function markOrigin(state) {
    return (plot) => {
      const { ctx, bbox } = plot;
      const x = Math.round(plot.valToPos(state.fan.origin_s, "x", true));
      ctx.save();
      ctx.strokeStyle = color("dim");
      ctx.setLineDash([3, 4]);
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
      ctx.restore();
    };
  }

  function draw(figure, fan) {
    const state = { figure, fan };
    const node = figure.querySelector(".plot");
    const axis = (side, size, values) => ({ side, size, values, stroke: color("dim"), font: "11px system-ui", grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, gap: 4 });
    const line = (label, extra) => ({ label, stroke: "transparent", width: 0, points: { show: false }, ...extra });
    state.plot = new uPlot({
      width: node.clientWidth, height: 190, tzDate: asDate, padding: [8, 8, 0, 0], legend: { show: false },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [axis(2, 22, (_, splits) => splits.map(clock)), axis(3, 48, (_, splits) => splits.map((v) => v >= 1000 ? `${v / 1000}k` : `${+v.toPrecision(3)}`))],
      series: [{}, line("wanted", { stroke: color("demand"), width: 1.75 }), line("5 %"), line("25 %"),
        line("median", { stroke: color("demand"), width: 2, dash: [6, 4] }), line("75 %"), line("95 %")],
      bands: [{ series: [6, 2], fill: faded("demand", 14) }, { series: [5, 3], fill: faded("demand", 26) }],
      hooks: { draw: [markOrigin(state)], setCursor: [(plot) => caption(state, plot.cursor.idx)] },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    }, [[], [], [], [], [], [], []], node);
    return state;
  }

  function caption(state, index) {
    const { fan, figure } = state;
    const [name, words] = figure.querySelector("figcaption").children;
    name.textContent = `${titled(fan.label)}, ${fan.unit}`;
    let text = fan.sentence;
    if (index != null) {
      const { median, low90, high90 } = fan.lines;
      text = `${clock(fan.at_s[index])}  ` + (median[index] == null || fan.at_s[index] <= fan.origin_s
        ? `wanted ${number(fan.wanted[index])}`
        : `median ${number(median[index])}, 9 of 10 times ${number(low90[index])} to ${number(high90[index])}`);
    }
    words.textContent = text;
    words.title = `by ${fan.model}`;
    for (const each of figure.querySelectorAll("canvas")) { each.setAttribute("role", "img"); each.setAttribute("aria-label", `${fan.label}: ${fan.sentence}`); }
  }

  function show(data) {
    for (const figure of box.children) figure.hidden = !data.fans.some((fan) => fan.resource === figure.dataset.resource);
    for (const fan of data.fans) {
      const figure = box.querySelector(`[data-resource="${fan.resource}"]`);
      const head = figure.querySelector("figcaption");
      if (!head.children.length) head.append(document.createElement("b"), document.createElement("span"));
      let note = figure.querySelector(".state");
      if (!note) { note = document.createElement("p"); note.className = "state warn"; head.after(note); }
      note.hidden = !fan.deviation;
      note.textContent = fan.deviation && `▲ ${titled(fan.deviation)}`;
      if (figure.classList.contains("blank")) { figure.classList.remove("blank"); figure.querySelector(".plot").textContent = ""; }
      let state = drawn.get(fan.resource);
      if (!state) drawn.set(fan.resource, state = draw(figure, fan));
      state.fan = fan;
      const { low90, low50, median, high50, high90 } = fan.lines;
      state.plot.setData([fan.at_s, fan.wanted, low90, low50, median, high50, high90]);
      caption(state, null);
    }
    box.setAttribute("aria-busy", "false");
  }

  function nothing(words) {
    if (drawn.size) return;
    for (const plot of box.querySelectorAll(".plot")) { plot.parentElement.classList.add("blank"); plot.textContent = words; }
    box.setAttribute("aria-busy", "false");
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const response = await fetch(box.dataset.url, { credentials: "same-origin" });
      if (response.ok) show(await response.json());
      else nothing("No forecast yet: the first comes when a slot of history is complete.");
    } catch { nothing("The forecast could not be fetched."); }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const { plot } of drawn.values()) plot.destroy();
    drawn.clear();
    refresh();
  });
  new ResizeObserver(() => { for (const { figure, plot } of drawn.values()) plot.setSize({ width: figure.clientWidth, height: 190 }); }).observe(box);
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, REFRESH_MS);
  refresh();
})();
