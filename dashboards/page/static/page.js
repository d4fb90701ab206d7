"use strict";
// Asks for live.json every two seconds and draws it. Unknown values arrive as null and are shown as a dash or a gap.
const CHART_PX = 240, EVERY_MS = 2000, STALE_S = 120, GIVE_UP_MS = 10000;
const COLOURS = ["#2f7fd1", "#e0862a", "#3d9a50", "#b04fbd", "#c9483b", "#12939a", "#8a7a2d", "#7a67d8", "#d1588f", "#6b7a70"];
const LOADS = { empty: "#e0b400", empty_with_load_units: "#b877d9", partial: "#73bf69", full: "#2c7d2c", unknown: "#8e8e8e" };
const $ = (id) => document.getElementById(id);
const dash = "–";
const num = (v, digits = 0, unit = "") => v === null || v === undefined ? dash : v.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) + unit;
const pct = (v, digits = 0) => v === null || v === undefined ? dash : num(100 * v, digits, " %");
const age = (s) => s === null || s === undefined ? dash : s < 90 ? num(s, 0, " s") : s < 5400 ? num(s / 60, 0, " min") : num(s / 3600, 0, " h");
const half = (row) => row.kg_per_h && row.high !== null ? num(100 * (row.high - row.kg_per_h) / row.kg_per_h, 1, " %") : dash;

function cells(row, values) {
  const tr = document.createElement("tr");
  values.forEach(([text, style], i) => {
    const cell = document.createElement(i ? "td" : "th");
    if (!i) cell.scope = "row";
    cell.textContent = text;
    if (style) cell.className = style;
    tr.append(cell);
  });
  return tr;
}
const stale = (s) => s === null || s > STALE_S ? "bad" : "";
const thin = (v, limit) => v !== null && v < limit ? "low" : "";

function element(tag, text, style) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (style) e.className = style;
  return e;
}
function card(name, value, unit, note, bad) {
  const box = element("div", undefined, bad ? "total bad" : "total"), figure = element("b", `${value} `);
  figure.append(element("small", unit));
  box.append(element("span", name), figure, element("span", note));
  return box;
}
function totals(t) {
  const empty = t.empty_low === null;
  $("totals").replaceChildren(
    card("CO₂e now, well-to-wheel", num(t.kg_per_h), "kg/h", t.low === null ? "band unknown" : `95 %: ${num(t.low)} to ${num(t.high)}`),
    card("Since midnight UTC", num(t.today_kg), "kg", `known for ${pct(t.today_known)} of the observed time`),
    card("Vehicles reporting", num(t.vehicles), `of ${num(t.registered)}`, `coverage ${pct(t.coverage)}`, t.vehicles === 0),
    card("Measured", pct(t.measured), "", "of the CO₂e; the rest is modelled"),
    card("Empty kilometres today", empty ? dash : `${num(100 * t.empty_low)}–${num(100 * t.empty_high)}`, "%", empty ? "no kilometre known yet" : "low and high bound"),
    card("Newest reading", age(t.age_s), "", `factors ${t.factor_set || dash}`, t.age_s === null || t.age_s > STALE_S),
  );
}

let chart = null, names = "";
const dark = () => getComputedStyle(document.documentElement).colorScheme.includes("dark");
function curves(history) {
  const routes = Object.keys(history.routes), key = routes.join("|") + dark();
  const data = [history.t, ...routes.map((r) => history.routes[r])];
  const told = Object.values(history.routes).some((values) => values.some((v) => v !== null));
  $("chart").hidden = !told; $("chart-none").hidden = told;
  if (!told) return;
  const box = $("chart"), size = { width: box.clientWidth, height: CHART_PX };
  if (chart && key === names) { chart.setData(data); return; }
  if (chart) chart.destroy();
  names = key;
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--soft"), line = getComputedStyle(document.documentElement).getPropertyValue("--line");
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
  chart = new uPlot({
    ...size, tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "Etc/UTC"), cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (u, low, high) => [Math.min(0, low || 0), (high || 1) * 1.08] } },
    axes: [{ ...axis, values: (u, times) => times.map((s) => new Date(s * 1000).toISOString().slice(11, 16)), incrs: [60, 300, 600, 900, 1800, 3600] }, { ...axis, size: 62, values: (u, v) => v.map((x) => num(x, v.length > 1 && v[1] - v[0] < 1 ? (v[1] - v[0] < 0.1 ? 2 : 1) : 0)) }],
    series: [{ label: "UTC", value: (u, s) => s === null ? dash : new Date(s * 1000).toISOString().slice(11, 16) }, ...routes.map((r, i) => ({ label: r, stroke: COLOURS[i % COLOURS.length], width: 2, spanGaps: false, points: { show: (u) => u.data[0].length < 4, size: 6 }, value: (u, v) => num(v, 0, " kg/h") }))],
  }, data, box);
}
addEventListener("resize", () => { view.fitted = view.moved; if (chart) chart.setSize({ width: $("chart").clientWidth, height: CHART_PX }); draw(); });

// The map: equirectangular around its middle, true to scale there.
const view = { lat: 50, lon: 10, perDeg: 60, fitted: false, moved: false };  // moved: by a person, so it is not fitted again
let last = null, hits = [];
function fit(points) {
  if (!points.length) return;
  const lats = points.map((p) => p.lat), lons = points.map((p) => p.lon), canvas = $("map");
  view.lat = (Math.min(...lats) + Math.max(...lats)) / 2;
  view.lon = (Math.min(...lons) + Math.max(...lons)) / 2;
  const squeeze = Math.cos(view.lat * Math.PI / 180);
  const high = Math.max(...lats) - Math.min(...lats) || 0.05, wide = (Math.max(...lons) - Math.min(...lons)) * squeeze || 0.05;
  view.perDeg = 0.82 * Math.min(canvas.clientHeight / high, canvas.clientWidth / wide);
  view.fitted = true;
}
function place(p) {
  const canvas = $("map"), squeeze = Math.cos(view.lat * Math.PI / 180);
  return [canvas.clientWidth / 2 + (p.lon - view.lon) * squeeze * view.perDeg, canvas.clientHeight / 2 - (p.lat - view.lat) * view.perDeg];
}
function draw() {
  if (!last) return;
  const canvas = $("map"), ratio = devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  if (!view.fitted) fit([...last.vehicles, ...last.places]);
  const g = canvas.getContext("2d");
  g.scale(ratio, ratio);
  g.font = "12px system-ui, sans-serif";
  const ink = style.getPropertyValue("--ink"), soft = style.getPropertyValue("--soft"), line = style.getPropertyValue("--line");
  const step = [10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01].find((s) => s * view.perDeg < 160) || 0.01, squeeze = Math.cos(view.lat * Math.PI / 180);
  g.strokeStyle = line; g.fillStyle = soft; g.lineWidth = 1;
  const dLat = canvas.clientHeight / view.perDeg / 2, dLon = canvas.clientWidth / view.perDeg / squeeze / 2, digits = step < 1 ? (step < 0.1 ? 2 : 1) : 0;
  for (let lat = Math.ceil((view.lat - dLat) / step) * step; lat < view.lat + dLat; lat += step) {
    const y = place({ lat, lon: view.lon })[1];
    g.beginPath(); g.moveTo(0, y); g.lineTo(canvas.clientWidth, y); g.stroke();
    if (y < canvas.clientHeight - 20) g.fillText(num(lat, digits, "°"), 4, y - 3);
  }
  for (let lon = Math.ceil((view.lon - dLon) / step) * step; lon < view.lon + dLon; lon += step) {
    const x = place({ lat: view.lat, lon })[0];
    g.beginPath(); g.moveTo(x, 0); g.lineTo(x, canvas.clientHeight); g.stroke(); g.fillText(num(lon, digits, "°"), x + 3, canvas.clientHeight - 4);
  }
  hits = [];
  for (const p of last.places) {
    const [x, y] = place(p);
    g.fillStyle = "#2f7fd1"; g.fillRect(x - 5, y - 5, 10, 10);
    hits.push([x, y, `${p.name}: warehouse`]);
  }
  for (const v of last.vehicles) {
    const [x, y] = place(v);
    g.globalAlpha = v.age_s > STALE_S ? 0.35 : 1;
    g.beginPath(); g.arc(x, y, 5.5, 0, 7); g.fillStyle = LOADS[v.load_state] || LOADS.unknown; g.fill();
    g.lineWidth = 1.2; g.strokeStyle = ink; g.stroke();
    g.globalAlpha = 1;
    hits.push([x, y, `${v.vehicle}: ${num(v.speed_kmh, 0, " km/h")}, ${num(v.g_per_km, 0, " g/km")}, ${v.load_state || "unknown"}, ${age(v.age_s)} ago`]);
  }
  g.strokeStyle = style.getPropertyValue("--land"); g.fillStyle = ink; g.lineWidth = 4; g.lineJoin = "round";
  for (const p of last.places) {
    const [x, y] = place(p);
    const left = x + 9 + g.measureText(p.name).width > canvas.clientWidth;
    g.textAlign = left ? "right" : "left";
    g.strokeText(p.name, left ? x - 9 : x + 9, y + 4); g.fillText(p.name, left ? x - 9 : x + 9, y + 4);
  }
  g.textAlign = "left";
  const km = [500, 200, 100, 50, 20, 10, 5, 2, 1, 0.5].find((k) => k / 111.2 * view.perDeg < 120) || 0.5, bar = km / 111.2 * view.perDeg;
  g.strokeStyle = ink; g.fillStyle = ink; g.lineWidth = 2;
  g.beginPath(); g.moveTo(canvas.clientWidth - 14 - bar, 16); g.lineTo(canvas.clientWidth - 14, 16); g.stroke();
  g.fillText(`${km} km`, canvas.clientWidth - 14 - bar, 30);
}
function zoom(by) { view.moved = true; view.perDeg = Math.min(Math.max(view.perDeg * by, 4), 200000); draw(); }
function pan(x, y) { view.moved = true; view.lon -= x / view.perDeg / Math.cos(view.lat * Math.PI / 180); view.lat += y / view.perDeg; draw(); }
$("map").addEventListener("keydown", (e) => {
  const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  if (moves[e.key]) pan(...moves[e.key]);
  else if (e.key === "+" || e.key === "=") zoom(1.4);
  else if (e.key === "-") zoom(1 / 1.4);
  else if (e.key === "0") { view.fitted = view.moved = false; draw(); }
  else return;
  e.preventDefault();
});
$("map").addEventListener("wheel", (e) => { if (document.activeElement === $("map")) { zoom(e.deltaY < 0 ? 1.2 : 1 / 1.2); e.preventDefault(); } }, { passive: false });
let drag = null;
$("map").addEventListener("pointerdown", (e) => { drag = [e.clientX, e.clientY]; });
addEventListener("pointermove", (e) => {
  if (drag) { pan(e.clientX - drag[0], e.clientY - drag[1]); drag = [e.clientX, e.clientY]; return; }
  if (e.target !== $("map")) return;
  const box = $("map").getBoundingClientRect(), x = e.clientX - box.left, y = e.clientY - box.top;
  const near = hits.filter((h) => Math.hypot(h[0] - x, h[1] - y) < 10).map((h) => h[2]);
  $("picked").textContent = near.slice(0, 3).join(" · ");
});
addEventListener("pointerup", () => { drag = null; });

$("legend").innerHTML = Object.entries(LOADS).map(([k, c]) => `<span><i style="background:${c}"></i>${k.replaceAll("_", " ")}</span>`).join("");
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
  names = ""; if (last) { curves(last.history); draw(); }
});
const kept = localStorage.getItem("theme");
if (kept) document.documentElement.dataset.theme = kept;

let heard = 0;
function show(live) {
  last = live; heard = Date.now();
  totals(live.totals);
  $("routes-body").replaceChildren(...live.routes.map((r) => cells(r, [[r.route || r.name], [num(r.kg_per_h, 1)], [half(r)], [num(r.g_per_km)], [`${num(r.vehicles)} of ${num(r.registered)}`], [pct(r.measured)], [pct(r.coverage), thin(r.coverage, 0.8)], [age(r.age_s), stale(r.age_s)]])));
  $("sites-body").replaceChildren(...live.warehouses.map((w) => cells(w, [[w.warehouse], [num(w.kg_per_h, 1)], [half(w)], [num(w.power_kw, 1)], [pct(w.measured)], [pct(w.coverage), thin(w.coverage, 0.8)], [age(w.age_s), stale(w.age_s)]])));
  curves(live.history);
  draw();
  $("foot").textContent = `Factor set ${live.totals.factor_set || dash}. Kernel version ${num(live.totals.kernel_version)}. Lake version ${live.version}. All times UTC.`;
}
function status(text, bad) { $("status").textContent = text; $("status").className = bad ? "stale" : ""; }
async function ask() {
  try {
    const answer = await fetch("live.json", { cache: "no-cache", signal: AbortSignal.timeout(GIVE_UP_MS) });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    show(await answer.json());
    status(`updated ${new Date(heard).toISOString().slice(11, 19)} UTC`, false);
  } catch (error) {
    status(heard ? `no answer for ${age((Date.now() - heard) / 1000)}: what is shown is old (${error.message})` : `no answer yet (${error.message})`, true);
  }
  setTimeout(ask, EVERY_MS);
}
ask();
