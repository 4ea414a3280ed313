// SPDX-License-Identifier: Apache-2.0
// The page works without this script. With it, panels are refreshed in place, and graphs show
// their values.
"use strict";

const form = document.getElementById("controls");
const status = document.getElementById("status");
const values = document.getElementById("values");
const drawings = () => [...document.querySelectorAll("svg[data-readings]")];

// width that the server draws for. Without this script it is that of most screens.
const width = () => Math.min(Math.max(20 * Math.round(document.body.clientWidth / 20), 320), 2560);

function address() {
  const url = new URL(location.href);
  url.searchParams.set("width", width());
  return url;
}

// refresh what is inside of each panel, but not one that is being read.
let refreshing = false;
async function refresh() {
  if (refreshing) {
    return;
  }
  refreshing = true;
  try {
    const response = await fetch(address(), { signal: AbortSignal.timeout(20000) });
    if (!response.ok) {
      throw new Error(response.statusText);
    }
    const next = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const panel of document.querySelectorAll(".panel, #marks")) {
      const fresh = next.getElementById(panel.id);
      const focused = panel.contains(document.activeElement);
      if (fresh) {
        panel.replaceChildren(...fresh.childNodes);
        if (focused) {
          (panel.querySelector("[tabindex]") || panel).focus();
        }
      }
    }
    status.textContent = next.getElementById("status").textContent;
    document.body.classList.remove("stale");
    cross();
  } catch (error) {
    document.body.classList.add("stale");
    status.textContent = status.textContent.replace(/ \(.*/, "") + " (not refreshed: the server does not respond)";
  } finally {
    refreshing = false;
  }
}

// Pages are refreshed at the same moments, so that Prometheus is asked once for all of them.
function schedule() {
  const every = 1000 * Number(document.body.dataset.refresh);
  if (every > 0) {
    setTimeout(async () => {
      if (!document.hidden) {
        await refresh();
      }
      schedule();
    }, every - (Date.now() % every) + 200);
  }
}

// crosshair is the time at which all graphs show a line, and the graph that shows its values.
let crosshair = null;

const pad = (number) => String(number).padStart(2, "0");

function clock(seconds) {
  const at = new Date(1000 * seconds);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ` +
    `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

// place of a time in a graph, from 0 to 1 of its width.
function place(readings, at) {
  const part = (at - readings.from) / (readings.step * Math.max(readings.count - 1, 1));
  return readings.left + part * (readings.right - readings.left);
}

// cross all graphs at the crosshair, and show the values of one.
function cross() {
  document.querySelectorAll(".hair").forEach((hair) => hair.remove());
  const shown = crosshair && document.getElementById(crosshair.panel)?.querySelector("svg[data-readings]");
  values.hidden = !shown;
  if (!shown) {
    return;
  }
  for (const svg of drawings()) {
    const readings = JSON.parse(svg.dataset.readings);
    const part = place(readings, crosshair.at);
    if (part >= readings.left - 0.001 && part <= readings.right + 0.001) {
      const box = svg.viewBox.baseVal;
      const hair = document.createElementNS("http://www.w3.org/2000/svg", "path");
      hair.setAttribute("class", "hair m");
      hair.setAttribute("d", `M${part * box.width} 4V${box.height - 20}`);
      svg.append(hair);
    }
  }
  list(shown);
}

// frame is where a drawing is in its element, which can be wider.
function frame(svg) {
  const box = svg.getBoundingClientRect();
  const drawn = svg.viewBox.baseVal;
  const width = Math.min(box.width, (box.height * drawn.width) / drawn.height);
  return { left: box.left + (box.width - width) / 2, top: box.top, width };
}

// list the values of a graph beside the crosshair.
function list(svg) {
  const readings = JSON.parse(svg.dataset.readings);
  const index = Math.round((crosshair.at - readings.from) / readings.step);
  const at = readings.from + index * readings.step;
  const lines = [document.createElement("strong")];
  lines[0].textContent = clock(at);
  for (const series of readings.series) {
    if (series.values[index]) {
      const line = document.createElement("div");
      line.className = series.class;
      for (const text of [series.name, series.values[index]]) {
        line.append(Object.assign(document.createElement("span"), { textContent: text }));
      }
      lines.push(line);
    }
  }
  for (const mark of document.querySelectorAll("#marks [data-from]")) {
    if (mark.dataset.from <= at + readings.step / 2 && mark.dataset.to >= at - readings.step / 2) {
      lines.push(Object.assign(document.createElement("div"), { className: mark.className, textContent: mark.textContent }));
    }
  }
  values.replaceChildren(...lines);
  values.setAttribute("aria-live", crosshair.keys ? "polite" : "off");
  const box = frame(svg);
  const x = box.left + box.width * place(readings, crosshair.at);
  const left = x + 16 + values.offsetWidth > innerWidth ? x - 16 - values.offsetWidth : x + 16;
  values.style.left = `${Math.max(4, left)}px`;
  values.style.top = `${Math.max(4, Math.min(box.top + 10, innerHeight - values.offsetHeight - 4))}px`;
}

const panelOf = (svg) => svg.closest(".panel").id;

function point(event) {
  const svg = event.target.closest?.("svg[data-readings]");
  if (!svg) {
    if (crosshair && !crosshair.keys) {
      crosshair = null;
      cross();
    }
    return;
  }
  const readings = JSON.parse(svg.dataset.readings);
  const box = frame(svg);
  const part = (event.clientX - box.left) / box.width;
  const inside = (part - readings.left) / (readings.right - readings.left);
  const index = Math.round(Math.min(Math.max(inside, 0), 1) * (readings.count - 1));
  crosshair = { panel: panelOf(svg), at: readings.from + index * readings.step };
  cross();
}

// step the crosshair of the graph that has the focus.
function step(svg, by) {
  const readings = JSON.parse(svg.dataset.readings);
  const last = readings.count - 1;
  const known = crosshair?.panel === panelOf(svg);
  const index = known ? Math.round((crosshair.at - readings.from) / readings.step) + by : last;
  crosshair = {
    panel: panelOf(svg), keys: true, at: readings.from + Math.min(Math.max(index, 0), last) * readings.step,
  };
  cross();
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("select, input")) {
    return;
  }
  const svg = event.target.closest?.("svg[data-readings]");
  if (svg && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    event.preventDefault();
    step(svg, event.key === "ArrowLeft" ? -1 : 1);
  } else if (event.key === "Escape") {
    crosshair = null;
    document.querySelectorAll(".menu[open]").forEach((menu) => { menu.open = false; });
    cross();
  } else if (event.key === "r") {
    refresh();
  } else if (event.key === "t") {
    switchTheme();
  } else if (event.key === "f") {
    const rows = [...document.querySelectorAll(".row")];
    const open = rows.some((row) => row.open);
    rows.forEach((row) => { row.open = !open; });
  }
}

// Themes are the system's until somebody chooses one.
function switchTheme() {
  const root = document.documentElement;
  const dark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}

// choose a value: All excludes the others.
function choose(event) {
  const box = event.target;
  if (box.type === "checkbox") {
    for (const other of box.closest("fieldset").querySelectorAll("input")) {
      if (box.checked && other !== box && (other.value === "$__all") !== (box.value === "$__all")) {
        other.checked = false;
      }
    }
    return;
  }
  form.requestSubmit();
}

// Rows stay folded from page to page.
for (const row of document.querySelectorAll(".row")) {
  const name = `folded ${location.pathname} ${row.querySelector("h2").textContent}`;
  if (sessionStorage.getItem(name)) {
    row.open = sessionStorage.getItem(name) === "open";
  }
  row.addEventListener("toggle", () => sessionStorage.setItem(name, row.open ? "open" : "folded"));
}
if (localStorage.getItem("theme")) {
  document.documentElement.dataset.theme = localStorage.getItem("theme");
}
document.getElementById("theme").hidden = false;
document.getElementById("theme").addEventListener("click", switchTheme);
form.addEventListener("change", choose);
document.addEventListener("keydown", key);
document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);
document.addEventListener("focusout", () => { crosshair = null; cross(); });
addEventListener("scroll", () => { crosshair = null; cross(); }, { passive: true });
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(refresh, 300); });
if (width() !== Number(document.body.dataset.width)) {
  refresh();
}
schedule();
