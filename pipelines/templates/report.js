"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLORS = ["#1f5f9e", "#8a3fa0", "#0c8276", "#7a5c1e"];
  const RED = "#c0282d";
  const LANE = 9; // height of the strip of alarms, CSS pixels
  const CLICK = 4; // pixels that a hand may tremble without dragging
  const DATES = [
    [3600 * 24 * 365, "{YYYY}", null, null, null, null, null, null, 1],
    [3600 * 24 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [3600 * 24, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
    [0.001, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  ];
  const byId = (id) => document.getElementById(id);
  const last = (values) => values[values.length - 1];

  // ---- Words -----------------------------------------------------------------------------------

  function moment(x) {
    if (!data.hasTimes) return `row ${Math.round(x).toLocaleString("en")}`;
    const text = new Date(x * 1000).toISOString();
    return `${text.slice(0, 10)} ${text.slice(11, text.slice(17, 19) === "00" ? 16 : 19)}`;
  }

  function short(value) {
    return value === null || value === undefined ? "–" : String(Number(value.toPrecision(4)));
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text; // never as HTML: names come from users' files
    return made;
  }

  // ---- What every chart shares -----------------------------------------------------------------

  const AXIS = { stroke: "#56636f", grid: { stroke: "#e6eaee", width: 1 }, ticks: { show: false } };

  function timeAxis() {
    const rows = (u, splits) => splits.map((value) => value.toLocaleString("en"));
    return { ...AXIS, space: 80, values: data.hasTimes ? DATES : rows };
  }

  function makeChart(host, options, values) {
    const chart = new uPlot(
      {
        width: host.clientWidth,
        tzDate: (x) => uPlot.tzDate(new Date(x * 1000), "Etc/UTC"),
        legend: { show: false },
        ...options,
      },
      values,
      host,
    );
    chart.root.setAttribute("aria-hidden", "true"); // the host's label says what it shows
    return chart;
  }

  /** Fill a stretch of the x axis, at least two pixels wide. */
  function fillSpan(u, start, end, top, height, color) {
    const { min, max } = u.scales.x;
    if (end < min || start > max) return;
    const left = u.valToPos(Math.max(start, min), "x", true);
    const right = u.valToPos(Math.min(end, max), "x", true);
    u.ctx.fillStyle = color;
    u.ctx.fillRect(left, top, Math.max(right - left, 2 * devicePixelRatio), height);
  }

  function dashedLine(u, from, to, color) {
    u.ctx.save();
    u.ctx.strokeStyle = color;
    u.ctx.lineWidth = 1.5 * devicePixelRatio;
    u.ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    u.ctx.beginPath();
    u.ctx.moveTo(...from);
    u.ctx.lineTo(...to);
    u.ctx.stroke();
    u.ctx.restore();
  }

  // ---- Timeline --------------------------------------------------------------------------------

  const host = byId("chart");
  const steps = data.x.slice(1).map((x, place) => x - data.x[place]).sort((a, b) => a - b);
  const step = steps[steps.length >> 1] || 1;
  const whole = [data.x[0] - step / 2, last(data.x) + step / 2];
  const endOf = (alarm) => (alarm.ended === null ? whole[1] : alarm.ended);
  let chosen = null;
  let timeline = null;

  /** Buckets with a hole put in wherever rows are missing altogether, so that no line bridges it. */
  function withHoles() {
    const x = [];
    const scores = data.detectors.map(() => []);
    data.x.forEach((value, place) => {
      if (place && value - data.x[place - 1] > 3 * step) {
        x.push(data.x[place - 1] + step);
        scores.forEach((list) => list.push(null));
      }
      x.push(value);
      scores.forEach((list, detector) => list.push(data.detectors[detector].times[place]));
    });
    return [x, ...scores];
  }

  /** Ticks 0, 0.5, 1, 2, 5, 10 ... as far as there is room; 1 always. */
  function scoreTicks(u, axis, min, max) {
    const room = 22 / u.height;
    const place = (value) => Math.asinh(2 * value) / Math.asinh(2 * max);
    const wanted = [0.5];
    for (let ten = 1; ten <= max; ten *= 10) wanted.push(10 * ten, 5 * ten, 2 * ten);
    const ticks = [1];
    for (const tick of wanted.filter((value) => value <= max)) {
      if (ticks.every((other) => Math.abs(place(other) - place(tick)) > room)) ticks.push(tick);
    }
    return [0, ...ticks.sort((a, b) => a - b)];
  }

  function drawBehind(u) {
    const { top, height } = u.bbox;
    for (const label of data.labels) {
      fillSpan(u, label.start, label.end, top, height, label.fault ? "#fdeecb" : "#e9edf2");
    }
    data.alarms.forEach((alarm, place) => {
      const color = place === chosen ? "rgba(192, 40, 45, 0.17)" : "rgba(192, 40, 45, 0.07)";
      fillSpan(u, alarm.onset, endOf(alarm), top, height, color);
    });
  }

  function drawInFront(u) {
    const { left, top, width } = u.bbox;
    const lane = LANE * devicePixelRatio;
    data.alarms.forEach((alarm, place) => {
      const extra = place === chosen ? lane / 2 : 0;
      fillSpan(u, alarm.onset, endOf(alarm), top, lane + extra, RED);
    });
    const y = u.valToPos(1, "y", true);
    dashedLine(u, [left, y], [left + width, y], "#30343b");
  }

  /** Score of the shown detectors, alarms and labels under the cursor. */
  function readOut(u) {
    const { idx, left } = u.cursor;
    if (idx === null || idx === undefined || left < 0) return;
    const x = u.data[0][idx];
    const scores = data.detectors
      .map((detector, place) => [detector.name, place + 1])
      .filter(([, series]) => u.series[series].show)
      .map(([name, series]) => `${name} ${short(u.data[series][idx])}`);
    const under = (start, end) => x >= start && x < end;
    const labels = data.labels.filter((label) => under(label.start, label.end));
    const alarms = data.alarms.filter((alarm) => under(alarm.onset, endOf(alarm)));
    const numbers = alarms.map((alarm) => `alarm ${data.alarms.indexOf(alarm) + 1}`);
    const marks = [...numbers, ...labels.map((label) => label.says)];
    byId("readout").textContent = [moment(x), `× threshold: ${scores.join(", ")}`, ...marks].join(" · ");
  }

  function sayShown(u) {
    const { min, max } = u.scales.x;
    const all = min <= whole[0] + step / 4 && max >= whole[1] - step / 4;
    const ends = all ? [data.x[0], last(data.x)] : [min, max];
    const grain = data.hasTimes && step >= 60 ? 60 : 1;
    const [from, to] = ends.map((end) => moment(Math.round(end / grain) * grain));
    const zone = data.hasTimes ? " UTC" : "";
    byId("shown").textContent = `${from} to ${to}${zone}${all ? "" : " (zoomed)"}`;
    byId("reset").disabled = all;
  }

  /** Show a stretch of x, kept inside the data and no shorter than a few buckets. */
  function show(start, end) {
    const length = Math.min(Math.max(end - start, 4 * step), whole[1] - whole[0]);
    const from = Math.min(Math.max((start + end - length) / 2, whole[0]), whole[1] - length);
    timeline.setScale("x", { min: from, max: from + length });
  }

  /** Shorten or lengthen what is shown, around a place that stays where it is. */
  function zoom(factor, around) {
    const { min, max } = timeline.scales.x;
    const centre = around === undefined ? (min + max) / 2 : around;
    show(centre - (centre - min) * factor, centre + (max - centre) * factor);
  }

  function move(share) {
    const { min, max } = timeline.scales.x;
    show(min + share * (max - min), max + share * (max - min));
  }

  function addWheel(over) {
    over.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return; // a plain wheel scrolls the page
        event.preventDefault();
        const at = timeline.posToVal(event.clientX - over.getBoundingClientRect().left, "x");
        zoom(event.deltaY < 0 ? 0.75 : 1 / 0.75, at);
      },
      { passive: false },
    );
  }

  function addClick(over) {
    let pressed = 0;
    over.addEventListener("mousedown", (event) => (pressed = event.clientX));
    over.addEventListener("mouseup", (event) => {
      if (Math.abs(event.clientX - pressed) > CLICK) return;
      const left = event.clientX - over.getBoundingClientRect().left;
      const [from, to] = [-CLICK, CLICK].map((shift) => timeline.posToVal(left + shift, "x"));
      const hit = data.alarms.findIndex((alarm) => alarm.onset <= to && endOf(alarm) >= from);
      if (hit >= 0) openAlarm(hit);
    });
  }

  function makeTimeline() {
    const series = data.detectors.map((detector, place) => ({
      label: detector.name,
      show: place === 0,
      stroke: COLORS[place % COLORS.length],
      width: place ? 1.2 : 1.5,
    }));
    timeline = makeChart(
      host,
      {
        height: 340,
        scales: {
          x: { time: data.hasTimes, range: (u, min, max) => (max > min ? [min, max] : whole) },
          y: { distr: 4, asinh: 0.5, range: (u, min, max) => [0, Math.max(1.6, 1.2 * (max || 0))] },
        },
        axes: [
          timeAxis(),
          {
            ...AXIS,
            label: "score, × threshold",
            labelSize: 22,
            size: 48,
            splits: scoreTicks,
            filter: (u, splits) => splits,
            values: (u, splits) => splits.map((tick) => tick.toLocaleString("en")),
          },
        ],
        cursor: { y: false, drag: { dist: CLICK }, bind: { dblclick: () => () => show(...whole) } },
        series: [{}, ...series],
        hooks: {
          drawClear: [drawBehind],
          draw: [drawInFront],
          setCursor: [readOut],
          setScale: [(u, key) => key === "x" && sayShown(u)],
        },
      },
      withHoles(),
    );
    show(...whole);
    addWheel(timeline.over);
    addClick(timeline.over);
    bindControls();
  }

  function bindControls() {
    const verbs = {
      earlier: () => move(-0.5),
      later: () => move(0.5),
      "zoom-in": () => zoom(0.5),
      "zoom-out": () => zoom(2),
      reset: () => show(...whole),
    };
    for (const [id, verb] of Object.entries(verbs)) byId(id).addEventListener("click", verb);
    for (const box of byId("detectors").querySelectorAll("input")) {
      const draw = () => timeline.setSeries(Number(box.value) + 1, { show: box.checked });
      box.addEventListener("change", draw);
      draw(); // a browser may have kept the boxes of an earlier visit
    }
    for (const swatch of byId("detectors").querySelectorAll("[data-detector]")) {
      swatch.style.background = COLORS[Number(swatch.dataset.detector) % COLORS.length];
    }
  }

  // ---- Alarms ----------------------------------------------------------------------------------

  let traceCharts = [];

  function openAlarm(place) {
    chosen = place;
    for (const button of document.querySelectorAll("#alarm-list button")) {
      button.setAttribute("aria-current", String(Number(button.dataset.alarm) === place));
    }
    traceCharts.forEach(([chart]) => chart.destroy());
    traceCharts = [];
    const alarm = data.alarms[place];
    const article = byId("alarm");
    const says = element("p", "", alarm.says);
    article.replaceChildren(element("h3", "", `Alarm ${place + 1}`), says, alarmButtons(place));
    const drawn = alarm.traces.some((trace) => trace.x.length);
    const without = "This alarm has no charts: there are too many alarms to draw them all.";
    article.append(drawn ? traceKey() : element("p", "empty", without));
    alarm.traces.forEach((trace) => addTrace(article, trace, alarm));
    if (timeline) timeline.redraw(false);
  }

  function zoomToAlarm(place) {
    if (!timeline) return;
    const { onset } = data.alarms[place];
    const end = endOf(data.alarms[place]);
    const margin = Math.max(0.75 * (end - onset), 20 * step);
    show(onset - margin, end + margin);
  }

  function showOnTimeline(place) {
    zoomToAlarm(place);
    byId("timeline").scrollIntoView();
  }

  function alarmButtons(place) {
    const group = element("div", "buttons");
    const choose = (other) => (event) => {
      const name = event.target.textContent;
      openAlarm(other);
      zoomToAlarm(other);
      document.querySelector(`[data-alarm="${other}"]`).scrollIntoView({ block: "nearest" });
      const buttons = [...byId("alarm").querySelectorAll("button:enabled")];
      const again = buttons.find((button) => button.textContent === name);
      (again || byId("alarm")).focus({ preventScroll: true });
    };
    const verbs = [
      ["Previous", place > 0 && choose(place - 1)],
      ["Next", place < data.alarms.length - 1 && choose(place + 1)],
      ["Show on the timeline", timeline && (() => showOnTimeline(place))],
    ];
    for (const [name, verb] of verbs) {
      const button = element("button", "", name);
      button.type = "button";
      button.disabled = !verb;
      if (verb) button.addEventListener("click", verb);
      group.append(button);
    }
    return group;
  }

  function traceKey() {
    const key = element("ul", "key");
    const words = { observed: "observed", expected: "expected in normal running", onset: "onset" };
    for (const [name, says] of Object.entries(words)) {
      const item = element("li");
      item.append(element("i", `swatch ${name}`), says);
      key.append(item);
    }
    return key;
  }

  function addTrace(article, trace, alarm) {
    const title = element("h4");
    const values = element("output", "values");
    const share = element("small", "", `${trace.shareSays} of the deviation`);
    title.append(element("span", "name", trace.name), " ", share);
    const bar = element("span", "bar");
    bar.append(element("i"));
    bar.firstChild.style.width = `${100 * trace.share}%`;
    title.append(values);
    article.append(title, bar);
    if (!trace.x.length) return;
    const place = element("div", "chart trace");
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `${trace.name}: observed beside expected, around ${moment(alarm.onset)}`);
    article.append(place);
    traceCharts.push([makeTraceChart(place, trace, alarm, values), place]);
  }

  function makeTraceChart(place, trace, alarm, values) {
    const markOnset = (u) => {
      const x = u.valToPos(alarm.onset, "x", true);
      dashedLine(u, [x, u.bbox.top], [x, u.bbox.top + u.bbox.height], RED);
    };
    const readValues = (u) => {
      const { idx, left } = u.cursor;
      const on = idx !== null && idx !== undefined && left >= 0;
      values.textContent = on
        ? `${moment(trace.x[idx])}: observed ${short(trace.observed[idx])}, expected ${short(trace.expected[idx])}`
        : "";
    };
    return makeChart(
      place,
      {
        height: 150,
        scales: { x: { time: data.hasTimes } },
        axes: [{ ...timeAxis(), size: 40 }, { ...AXIS, size: 58, space: 28 }],
        cursor: { y: false, drag: { x: false, y: false }, sync: { key: "alarm" } },
        series: [
          {},
          { label: "expected", stroke: "#e07b1a", width: 1.8 },
          { label: "observed", stroke: "#1f6fb4", width: 1.5 },
        ],
        hooks: { draw: [markOnset], setCursor: [readValues] },
      },
      [trace.x, trace.expected, trace.observed],
    );
  }

  // ---- Start -----------------------------------------------------------------------------------

  /** Give every chart the width of its place, or of a sheet of paper where that is narrower. */
  function fitAll(limit = Infinity) {
    const charts = timeline ? [[timeline, host], ...traceCharts] : traceCharts;
    for (const [chart, place] of charts) {
      const width = Math.min(place.clientWidth || chart.width, limit);
      if (width !== chart.width) chart.setSize({ width, height: chart.height });
    }
  }

  if (host) makeTimeline();
  if (data.alarms.length) openAlarm(0);
  for (const button of document.querySelectorAll("#alarm-list button")) {
    const place = Number(button.dataset.alarm);
    button.addEventListener("click", () => (openAlarm(place), zoomToAlarm(place)));
  }
  new ResizeObserver(() => fitAll()).observe(document.querySelector("main"));
  window.addEventListener("beforeprint", () => fitAll(660)); // what fits on A4
  window.addEventListener("afterprint", () => fitAll());
})();
