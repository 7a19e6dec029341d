// Sorting, filtering, the slice viewer and paired differences. No library; every page reads well without it.
"use strict";

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const json = (id) => JSON.parse(document.getElementById(id).textContent);
// as `number` of harness/board/site/columns.py
const number = (x, digits = 4) => {
  if (Math.abs(x) >= 10 ** digits) return x.toFixed(0).replace("-", "−");
  const text = x !== 0 && Math.abs(x) < 1e-4 ? x.toExponential(digits - 1) : x.toPrecision(digits);
  const [mantissa, exponent] = text.split("e");
  const raised = [...(exponent ?? "").replace("+", "")].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
  return (exponent ? `${mantissa}×10${raised.join("")}` : mantissa).replace("-", "−");
};
const interval = (low, high) => `[${number(low, 3)}, ${number(high, 3)}]`;
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// ---------------------------------------------------------------- sorting: within each group, empty cells last
function sortable(table) {
  const heads = all("thead th", table);
  heads.forEach((head, column) => {
    const button = element("button", { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.first === "down" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      sortBy(table, column, order === "ascending" ? 1 : -1);
    });
  });
}

function sortBy(table, column, sign) {
  const key = (row) => {
    const cell = row.cells[column];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.tagName === "TH" ? cell.textContent.trim().toLowerCase() : null;
  };
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    const keyed = rows.map((row) => [key(row), row]);
    keyed.sort(([a], [b]) => (a === null) - (b === null) || sign * (a < b ? -1 : a > b ? 1 : 0));
    body.append(...keyed.map(([, row]) => row));
  }
}

// ---------------------------------------------------------------- filtering
function filters(form) {
  const board = document.getElementById(form.dataset.for);
  const update = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const body of all("tbody", board)) {
      const off = form.elements[body.dataset.group]?.checked === false;
      let left = 0;
      for (const row of body.rows) {
        if (row.classList.contains("group")) continue;
        const name = row.dataset.name.toLowerCase();
        row.hidden = off || !words.every((word) => name.includes(word));
        left += !row.hidden;
      }
      body.hidden = left === 0;
      shown += left;
    }
    form.querySelector(".count").textContent = `${shown} ${shown === 1 ? "row" : "rows"}`;
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  update();
}

// ---------------------------------------------------------------- another region or reference in the board's table
function switchable(form) {
  const board = document.getElementById(form.dataset.for);
  const values = json(`${form.dataset.for}-data`);
  const table = board.querySelector("table");
  const rows = all("tbody tr[data-scored]", table);
  const heads = all("thead th", table);
  const update = () => {
    const found = values[form.elements.reference.value]?.[form.elements.region.value] ?? {};
    heads.forEach((head, index) => {
      const name = head.dataset.metric;
      if (name === undefined) return;
      const list = found[name];
      head.hidden = !list;
      const ranked = (list ?? []).filter((one, at) => one && rows[at].classList.contains("ranked"));
      const ends = (ranked.length > 1 ? ranked : (list ?? []).filter(Boolean)).flat();
      const low = Math.min(...ends), high = Math.max(...ends);
      rows.forEach((row, at) => fill(row.cells[index], list?.[at], low, high, !list));
    });
    for (const row of all("tbody tr:not([data-scored]):not(.group)", table)) {
      heads.forEach((head, index) => { if (head.dataset.metric !== undefined) row.cells[index].hidden = head.hidden; });
    }
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  update();
}

function fill(cell, triple, low, high, hidden) {
  cell.hidden = hidden;
  cell.removeAttribute("title");
  delete cell.dataset.v;
  cell.textContent = "–";
  if (!triple) return;
  const [value, from, to] = triple;
  cell.dataset.v = value;
  cell.textContent = number(value);
  if (from === undefined) return;
  cell.title = `95 % interval ${interval(from, to)}`;
  if (high === low) return;
  const bar = element("i", { className: "ci" });
  const percent = (x) => Math.round(100 * Math.min(1, Math.max(0, (x - low) / (high - low))));
  bar.classList.toggle("beside", value < low || value > high);
  bar.style.setProperty("--l", percent(from));
  bar.style.setProperty("--a", percent(value));
  bar.style.setProperty("--r", percent(to));
  cell.append(bar);
}

// ---------------------------------------------------------------- ranks: a script of the protocol's, so that pages hold none
window.standings = (ranks) => {
  for (const place of all("[data-rank]")) {
    const [rank, tier] = ranks[place.dataset.rank] ?? [];
    if (rank) place.textContent = `Rank ${rank}${tier ? `, tier ${tier}` : ""}`;
  }
};

// ---------------------------------------------------------------- slice viewer
// Windows and differences are filters of the style sheet: a canvas could not be read on a page opened from disk.
const PRESETS = { lung: [-600, 1500], "soft tissue": [40, 400], bone: [400, 1800], brain: [40, 120] };
const READ_IN = { chest: "lung", abdomen: "soft tissue", head: "brain" };

function viewer(root) {
  const layers = JSON.parse(root.dataset.layers);
  const controls = root.querySelector(".controls"), stage = root.querySelector(".stage");
  const control = (name) => controls.querySelector(`[name="${name}"]`);
  const [low, high] = (root.dataset.window ?? "0 255").split(" ").map(Number);
  const unit = root.dataset.window ? " HU" : "";
  const whole = [(low + high) / 2, high - low];
  const presets = root.dataset.window ? { ...PRESETS, "all there is": whole } : { "all there is": whole };
  const under = stage.querySelector(".under"), over = stage.querySelector(".over");
  const overlay = stage.querySelector(".overlay");

  for (const name of ["first", "second"]) {
    for (const kind of Object.keys(layers)) if (kind !== "regions") control(name).append(element("option", {}, kind));
    control(name).value = root.dataset[name];
  }
  for (const name of [...Object.keys(presets), "own"]) control("preset").append(element("option", {}, name));
  Object.assign(control("level"), { min: low, max: high, step: 1 });
  Object.assign(control("width"), { min: Math.min(20, high - low), max: high - low, step: 1 });
  const choose = (name) => {
    if (presets[name]) [control("level").value, control("width").value] = presets[name];
  };

  const update = () => {
    const difference = control("mode").value === "difference";
    for (const [image, name] of [[under, "first"], [over, "second"]]) {
      const kind = control(name).value;
      if (image.getAttribute("src") !== layers[kind]) image.src = layers[kind];
      image.alt = kind;
      image.style.filter = `url(#${root.querySelector("filter").id})`;
    }
    const level = Number(control("level").value), width = Number(control("width").value);
    const slope = (high - low) / width, intercept = (low - level) / width + 0.5;
    for (const part of root.querySelectorAll("feComponentTransfer > *")) {
      part.setAttribute("slope", slope);
      part.setAttribute("intercept", intercept);
    }
    const gain = Number(control("gain").value);
    stage.classList.toggle("difference", difference);
    stage.style.setProperty("--wipe", `${control("wipe").value}%`);
    stage.style.setProperty("--gain", gain);
    control("level-text").textContent = `${level}${unit}`;
    control("width-text").textContent = `${width}${unit}`;
    control("gain-text").textContent = `±${Math.round((high - low) / gain)}${unit || " grey"}`;
    for (const name of ["wipe", "level", "width"]) control(name).closest("label").hidden = difference;
    control("preset").closest("label").hidden = difference;
    control("gain").closest("label").hidden = !difference;
    if (overlay && control("regions")) {
      overlay.hidden = !control("regions").checked;
      controls.querySelector(".legend").hidden = overlay.hidden;
    }
  };
  controls.addEventListener("input", (event) => {
    if (event.target.name === "preset") choose(event.target.value);
    if (["level", "width"].includes(event.target.name)) control("preset").value = "own";
    update();
  });
  stage.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" && event.buttons === 0) return;
    const box = stage.getBoundingClientRect();
    control("wipe").value = (100 * (event.clientX - box.left)) / box.width;
    update();
  });
  const start = READ_IN[root.dataset.anatomy];
  control("preset").value = presets[start] ? start : "all there is";
  choose(control("preset").value);
  controls.hidden = false;
  update();
}

// ---------------------------------------------------------------- paired differences (harness.statistics.paired_difference)
function difference(first, second, quantiles) {
  const without = Object.keys(first.without).filter((patient) => patient in second.without)
    .map((patient) => first.without[patient] - second.without[patient]);
  const value = first.value - second.value, count = without.length;
  if (first.n !== second.n || count < 2) return { value };
  const mean = without.reduce((sum, x) => sum + x, 0) / count;
  const squares = without.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  const half = quantiles[count] * Math.sqrt(((count - 1) / count) * squares);
  return { value, low: value - half, high: value + half };
}

// The numbers of a row are a script of its own, loaded when the row is chosen: pages opened from disk cannot fetch data.
const numbers = new Map();
window.compared = (id, found) => numbers.set(id, found);

function load(id) {
  if (numbers.has(id)) return Promise.resolve(numbers.get(id));
  return new Promise((done, failed) => {
    const script = element("script", { src: `compare/${id}.js` });
    script.onload = () => done(numbers.get(id));
    script.onerror = () => failed(new Error(`compare/${id}.js cannot be loaded`));
    document.head.append(script);
  });
}

function valueOf(row, reference, metric, region) {
  const found = row.values[reference]?.[metric]?.[region];
  if (!found) return undefined;
  const [value, n, ...without] = found;
  const pairs = row.patients.map((patient, at) => [patient, without[at]]).filter(([, x]) => x !== null);
  return { value, n, without: Object.fromEntries(pairs) };
}

function compare(form) {
  const data = json("comparison");
  const asked = new URLSearchParams(location.hash.slice(1));
  const index = (id, otherwise) => {
    const found = data.rows.findIndex((row) => row.id === id);
    return found < 0 ? otherwise : found;
  };
  for (const select of [form.elements.a, form.elements.b]) {
    data.rows.forEach((row, at) => select.append(new Option(row.name, at)));
  }
  form.elements.a.value = index(asked.get("a"), 0);
  const next = form.elements.a.value === "0" ? 1 : 0;
  form.elements.b.value = index(asked.get("b"), next);

  const update = async () => {
    const rows = [form.elements.a, form.elements.b].map((select) => data.rows[Number(select.value)]);
    const [first, second] = await Promise.all(rows.map(async (row) => ({ ...row, ...(await load(row.id)) })));
    if ((first.twin ?? first.id) === (second.twin ?? second.id)) second.values = first.values;
    if (rows[0] !== data.rows[Number(form.elements.a.value)] || rows[1] !== data.rows[Number(form.elements.b.value)]) return;
    history.replaceState(null, "", `#a=${first.id}&b=${second.id}`);
    differences("differences", data.metrics, form.elements.reference.value, first, second, data.quantiles);
    if (data.lesions.length) differences("lesion-differences", data.observers, "lesions", first, second, data.quantiles);
    mostDifferent(first, second);
  };
  form.hidden = false;
  all(".scripted").forEach((section) => (section.hidden = false));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  update();
}

function differences(id, metrics, reference, first, second, quantiles) {
  const table = document.getElementById(id), body = table.tBodies[0];
  const regions = all("th[data-region]", table).map((head) => head.dataset.region);
  body.replaceChildren();
  for (const [metric, { unit, higher }] of Object.entries(metrics)) {
    if (!first.values[reference]?.[metric] && !second.values[reference]?.[metric]) continue;
    const sign = higher === null ? "" : higher ? " ↑" : " ↓";
    const head = element("th", { scope: "row" }, metric, unit ? element("small", {}, ` ${unit}`) : "", sign);
    const row = element("tr", {}, head);
    for (const region of regions) {
      const [one, other] = [first, second].map((each) => valueOf(each, reference, metric, region));
      row.append(differenceCell(one, other, higher, quantiles));
    }
    body.append(row);
  }
}

function differenceCell(first, second, higher, quantiles) {
  const cell = element("td", { className: "num" }, "–");
  if (!first || !second) return cell;
  const found = difference(first, second, quantiles);
  const text = number(found.value);
  cell.textContent = text;
  if (found.low === undefined) return cell;
  if (higher !== null && (found.low > 0 || found.high < 0)) {
    const first = found.value > 0 === higher;
    cell.className += first ? " better-a" : " better-b";
    cell.textContent = first ? `◀ ${text}` : `${text} ▶`;
  }
  cell.append(element("small", {}, interval(found.low, found.high)));
  return cell;
}

function mostDifferent(first, second) {
  const place = document.querySelector("#most tbody");
  place.replaceChildren();
  const [metric, region, reference] = first.slices.kind;
  const [of, other] = [first.slices.values, second.slices.values];
  const both = Object.keys(of).filter((name) => name in other && of[name] !== other[name])
    .map((name) => [name, of[name], other[name]]);
  both.sort((one, another) => Math.abs(another[1] - another[2]) - Math.abs(one[1] - one[2]));
  for (const [name, x, y] of both.slice(0, 8)) {
    const links = [[first, "first"], [second, "second"]].filter(([row]) => row.pictures[name]);
    const cell = element("td");
    links.forEach(([row, word], at) => cell.append(at ? ", " : "", element("a", { href: `${row.page}#slices-title` }, word)));
    if (!links.length) cell.append("–");
    const values = [x, y, x - y].map((value) => element("td", { className: "num" }, number(value)));
    place.append(element("tr", {}, element("th", { scope: "row" }, element("code", {}, name)), ...values, cell));
  }
  const shown = Object.keys(first.pictures).length + Object.keys(second.pictures).length > 0;
  document.getElementById("most-note").textContent = !both.length
    ? "The records keep no per-slice values that differ."
    : `By ${metric} (${region}, against the ${reference}). ` + (shown
      ? "A record keeps pictures of its worst, median and best slice."
      : "Pictures of these slices are not in this copy of the board; each record's page says how to get them.");
  pairViewer(first, second);
}

function pairViewer(first, second) {
  const common = Object.keys(first.pictures).filter((name) => second.pictures[name]);
  const section = document.getElementById("pair"), select = document.getElementById("pair-case");
  section.hidden = !common.length || first.id === second.id;
  if (section.hidden) return;
  select.replaceChildren(...common.map((name) => new Option(name, name)));
  select.onchange = () => {
    const one = first.pictures[select.value], other = second.pictures[select.value];
    const made = document.getElementById("pair-viewer").content.firstElementChild.cloneNode(true);
    const layers = { first: one.output, second: other.output, input: one.input, label: one.label };
    if (one.truth) layers.truth = one.truth;
    made.dataset.layers = JSON.stringify({ ...layers, regions: one.regions });
    if (first.window) made.dataset.window = first.window.join(" ");
    made.querySelector(".overlay").src = one.regions;
    document.getElementById("pair-place").replaceChildren(made);
    viewer(made);
  };
  select.onchange();
}

all("table.sortable").forEach(sortable);
all("form.filters").forEach(filters);
all("form.switch").forEach(switchable);
all(".viewer").forEach(viewer);
const comparison = document.getElementById("compare");
if (comparison) compare(comparison);
