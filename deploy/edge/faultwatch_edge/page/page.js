"use strict";
// Shows what the agent says of its assets, every two seconds; sends orders. Text is only ever set
// as text, so nothing that comes from a plant is read as markup.

const WORDS = {
  normal: "Normal", unacknowledged: "Alarm", acknowledged: "Alarm, acknowledged",
  rtn_unacknowledged: "Back to normal, not acknowledged", shelved: "Shelved", suppressed_by_design: "Suppressed, at work on it", out_of_service: "Out of service",
};
const ORDERS = {
  acknowledge: "Acknowledge", shelve: "Shelve", unshelve: "End the shelf", suppress: "Suppress for maintenance", unsuppress: "Maintenance is done",
  take_out_of_service: "Take out of service", return_to_service: "Return to service",
};
const POSSIBLE = {
  normal: ["shelve", "suppress", "take_out_of_service"],
  unacknowledged: ["acknowledge", "shelve", "suppress", "take_out_of_service"],
  acknowledged: ["shelve", "suppress", "take_out_of_service"],
  rtn_unacknowledged: ["acknowledge", "shelve", "suppress", "take_out_of_service"],
  shelved: ["unshelve", "suppress", "take_out_of_service"],
  suppressed_by_design: ["unsuppress", "take_out_of_service"],
  out_of_service: ["return_to_service"],
};
const SINKS = { mqtt: "the broker", webhook: "the web address", file: "the file" };
const REASONED = ["shelve", "suppress", "take_out_of_service"];
const LASTING = ["shelve", "suppress"];
const PASSED_OVER = "Not scored now: the machine runs in a way that was not learned. The alarm stays as it is meanwhile.";
const byId = (id) => document.getElementById(id);

function make(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function when(text) {
  return text ? new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "";
}

function number(value) {
  return value === null ? "no value" : Number(value.toPrecision(5)).toString();
}

function contributors(rows) {
  const table = make("table");
  const head = table.createTHead().insertRow();
  for (const title of ["Channel", "Observed", "Expected", "Share"]) head.append(make("th", title));
  const body = table.createTBody();
  for (const one of rows) {
    const row = body.insertRow();
    row.append(make("td", one.channel), make("td", `${number(one.observed)} ${one.unit}`),
      make("td", `${number(one.expected)} ${one.unit}`), make("td", `${Math.round(100 * one.share)} %`));
  }
  return table;
}

function chart(asset) {
  const [width, height, top] = [1000, 90, Math.max(1.5 * asset.threshold, ...asset.scores.map((one) => Math.min(one.score, 3 * asset.threshold)))];
  const first = Date.parse(asset.scores[0].time), last = Date.parse(asset.scores.at(-1).time);
  const x = (time) => (Date.parse(time) - first) / (last - first) * width;
  const y = (score) => height - 2 - Math.min(score, top) / top * (height - 4);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Score of the last day, and its threshold");
  const line = document.createElementNS(svg.namespaceURI, "line");
  for (const [name, value] of Object.entries({ class: "threshold", x1: 0, x2: width, y1: y(asset.threshold), y2: y(asset.threshold) })) line.setAttribute(name, value);
  const score = document.createElementNS(svg.namespaceURI, "polyline");
  score.setAttribute("class", "score");
  const shown = asset.scores.length > 1 ? asset.scores : [asset.scores[0], asset.scores[0]];
  score.setAttribute("points", shown.map((one, place) => `${(last > first ? x(one.time) : place * width).toFixed(1)},${y(one.score).toFixed(1)}`).join(" "));
  svg.append(line, score);
  const axis = make("div", undefined, "axis");
  axis.append(make("span", when(asset.scores[0].time)), make("span", "score; dashed: threshold"), make("span", when(asset.scores.at(-1).time)));
  return [svg, axis];
}

function card(asset) {
  const shown = make("article", undefined, asset.state);
  shown.dataset.asset = asset.asset;
  const top = make("div", undefined, "top");
  top.append(make("h2", asset.name || asset.asset), make("span", WORDS[asset.state], "state"));
  if (asset.priority) top.append(make("span", `priority ${asset.priority}`, "faint"));
  if (asset.shadow) top.append(make("span", "shadow: not announced", "shadow"));
  const orders = make("div", undefined, "orders");
  for (const verb of POSSIBLE[asset.state]) {
    const button = make("button", ORDERS[verb], verb === "acknowledge" ? "first" : "");
    button.addEventListener("click", () => ask(asset, verb));
    orders.append(button);
  }
  top.append(orders);
  shown.append(top);
  const alarm = asset.alarm;
  if (alarm) {
    shown.append(make("p", alarm.message));
    if (asset.silent_until) shown.append(make("p", `${WORDS[asset.state]}, until ${when(asset.silent_until)}`, "faint"));
    if (alarm.reason) shown.append(make("p", `Why: ${alarm.reason} (${alarm.by})`, "faint"));
    if (asset.is_passed_over) shown.append(make("p", PASSED_OVER));
    if (alarm.occurrence > 1) shown.append(make("p", `Raised ${alarm.occurrence} times`, "faint"));
    if (alarm.contributors.length) shown.append(contributors(alarm.contributors));
    if (alarm.first_out) shown.append(make("p", `First to differ: ${alarm.first_out}`, "faint"));
    const texts = make("dl");
    for (const name of ["cause", "consequence", "action"]) {
      if (alarm[name]) texts.append(make("dt", name[0].toUpperCase() + name.slice(1)), make("dd", alarm[name]));
    }
    if (texts.childElementCount) shown.append(texts);
  }
  if (asset.events.length) {
    const list = make("ul");
    for (const text of asset.events) list.append(make("li", text));
    shown.append(list);
  }
  if (asset.scores.length) shown.append(...chart(asset));
  shown.append(make("p", asset.last_sample_at ? `Last sample ${when(asset.last_sample_at)}` : "No sample yet", "faint"));
  return shown;
}

function ask(asset, verb) {
  const dialog = byId("order");
  byId("order-title").textContent = `${ORDERS[verb]}: ${asset.name || asset.asset}`;
  byId("order-error").textContent = "";
  byId("for-label").hidden = !LASTING.includes(verb);
  byId("for").value = "3600";
  byId("longest").hidden = byId("longest").disabled = verb !== "suppress";
  byId("reason").required = REASONED.includes(verb);
  byId("by").value = sessionStorage.getItem("by") || "";
  byId("reason").value = "";
  byId("send").onclick = async (event) => {
    event.preventDefault();
    if (!dialog.querySelector("form").reportValidity()) return;
    sessionStorage.setItem("by", byId("by").value);
    const order = { verb, by: byId("by").value, reason: byId("reason").value, for_s: LASTING.includes(verb) ? Number(byId("for").value) : null };
    const answer = await fetch(`orders/${encodeURIComponent(asset.asset)}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) });
    if (answer.ok) { dialog.close(); refresh(); } else byId("order-error").textContent = await answer.text();
  };
  dialog.showModal();
}

async function refresh() {
  const told = byId("connection");
  try {
    const found = await (await fetch("state.json", { cache: "no-store" })).json();
    const away = found.away.map((sink) => SINKS[sink]).join(" and ");
    told.className = away ? "away" : "";
    told.textContent = away ? `${away} cannot be reached; what is said is kept` : "all that is said is delivered";
    byId("assets").replaceChildren(...found.assets.map(card));
  } catch {
    told.className = "away";
    told.textContent = "the agent does not answer; what is shown is old";
  }
}

refresh();
setInterval(refresh, 2000);
