"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { pictures, faces, columns, moods, limits } = data;
const PER_PAGE = { faces: 96, pictures: 48, table: 100 };
const state = { view: "faces", query: "", show: "all", height: 0, quality: 0, key: "", down: false, page: 0 };
const find = (id) => document.getElementById(id);
const collator = new Intl.Collator(undefined, { numeric: true });

// One entry a face, and one for each picture that has none.
const entries = [];
pictures.forEach((picture, index) => {
  for (let i = 0; i < picture.count; i += 1) entries.push({ picture: index, face: picture.first + i });
  if (!picture.count) entries.push({ picture: index, face: -1 });
});
let chosen = entries;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, number] of Object.entries(value)) element.style.setProperty(key, number);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const heightOf = (face) => faces.box[face][3] - faces.box[face][1];
const words = (count) => (count === 0 ? "no face" : count === 1 ? "1 face" : `${count.toLocaleString("en")} faces`);

function value(entry, key) {
  if (key === "name") return pictures[entry.picture].name;
  if (entry.face < 0) return null;
  if (key === "height") return heightOf(entry.face);
  return faces[key][entry.face];
}

function shown(number, column) {
  if (number === null || number === undefined) return "";
  if (column.decimals === null) return number;
  const text = number.toFixed(column.decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "\u2212");
}

// ---- choosing and sorting

function choose() {
  const parts = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  const labels = columns.filter((column) => column.decimals === null && column.key !== "name");
  chosen = entries.filter((entry) => {
    const picture = pictures[entry.picture];
    const kind = picture.error ? "error" : picture.count ? "some" : "none";
    if (state.show !== "all" && state.show !== kind) return false;
    if (state.height && (entry.face < 0 || heightOf(entry.face) < state.height)) return false;
    const quality = faces["quality.UnifiedQualityScore"];
    if (state.quality && (entry.face < 0 || !quality || !(quality[entry.face] >= state.quality))) return false;
    if (!parts.length) return true;
    const said = labels.map((column) => value(entry, column.key) ?? "").join(" ");
    const text = `${picture.path} ${picture.error ?? ""} ${said}`.toLowerCase();
    return parts.every((part) => text.includes(part));
  });
  if (state.key) {
    const sign = state.down ? -1 : 1;
    const keyed = chosen.map((entry, index) => ({ entry, index, value: value(entry, state.key) ?? null }));
    keyed.sort((a, b) => {
      // What has no number stays at the end, whichever way the others go.
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.index - b.index;
      const order = typeof a.value === "string" ? collator.compare(a.value, b.value) : a.value - b.value;
      return sign * order || a.index - b.index;
    });
    chosen = keyed.map((item) => item.entry);
  }
}

function update(changes, keepPage = false) {
  Object.assign(state, changes);
  if (!keepPage) state.page = 0;
  choose();
  render();
}

// ---- showing

function items() {
  if (state.view === "table") return chosen;
  if (state.view === "faces") return chosen.filter((entry) => entry.face >= 0);
  return [...new Set(chosen.map((entry) => entry.picture))];
}

function render() {
  const all = items();
  const size = PER_PAGE[state.view];
  const pages = Math.max(1, Math.ceil(all.length / size));
  state.page = Math.min(state.page, pages - 1);
  const from = state.page * size;
  const part = all.slice(from, from + size);
  const table = state.view === "table";
  find("scroll").hidden = !table;
  find("wall").hidden = table;
  find("columns").hidden = !table;
  find("wall").className = `wall ${state.view}`;
  if (table) renderTable(part);
  else find("wall").replaceChildren(...part.map(state.view === "faces" ? faceTile : pictureTile));
  const counted = chosen.filter((entry) => entry.face >= 0).length;
  const of = new Set(chosen.map((entry) => entry.picture)).size;
  const hidden = state.view === "faces" && !counted && of ? " Pictures without a face are in the other two views." : "";
  find("status").textContent = `${words(counted)} in ${of.toLocaleString("en")} picture${of === 1 ? "" : "s"}${chosen.length < entries.length ? " chosen" : ""}.${hidden}`;
  find("where").textContent = pages > 1 ? `${(from + 1).toLocaleString("en")} to ${(from + part.length).toLocaleString("en")} of ${all.length.toLocaleString("en")}` : "";
  find("back").hidden = find("next").hidden = pages === 1;
  find("back").disabled = state.page === 0;
  find("next").disabled = state.page === pages - 1;
  find("sort").value = state.key;
  find("turn").setAttribute("aria-pressed", state.down);
  find("turn").disabled = !state.key;
}

function crop(face) {
  const picture = pictures[faces.picture[face]];
  const index = face - picture.first;
  const across = Math.min(picture.count, data.faces_in_a_row);
  const inside = picture.faces && index < data.most_faces;
  const place = { "--across": across, "--column": index % across, "--row": Math.floor(index / across) };
  return make("span", { class: "crop", vars: place }, inside ? make("img", { src: picture.faces, alt: "", loading: "lazy", decoding: "async" }) : null);
}

function faceTile(entry) {
  const picture = pictures[entry.picture];
  const quality = faces["quality.UnifiedQualityScore"]?.[entry.face];
  const height = Math.round(heightOf(entry.face));
  const mood = faces["best.expression"]?.[entry.face];
  const label = `Face ${faces.face[entry.face]} of ${picture.name}, ${height} px high${quality === undefined || quality === null ? "" : `, quality ${Math.round(quality)}`}${mood ? `, ${mood}` : ""}`;
  return make("button", { class: "tile", type: "button", "aria-label": label, title: picture.path, onclick: () => open(entry.picture, entry.face) },
    crop(entry.face), mood ? moodBand(entry.face) : null, make("span", { class: "words" }, make("b", {}, picture.name), make("i", {}, `${mood ? `${mood}, ` : ""}${height} px`)));
}

// ---- how a face appears

const percent = (share) => `${Math.round(100 * share)} %`;
const known = (key, face) => faces[key]?.[face] !== undefined && faces[key][face] !== null;

function moodBand(face) {
  const said = moods.filter((mood) => faces[mood.key][face] >= 0.05).sort((a, b) => faces[b.key][face] - faces[a.key][face]);
  return make("span", { class: "moods", title: said.map((mood) => `${mood.title} ${percent(faces[mood.key][face])}`).join(", ") },
    ...moods.map((mood) => make("span", { vars: { "--part": faces[mood.key][face] ?? 0, "--colour": mood.colour } })));
}

function genderWords(face) {
  if (!known("best.gender", face)) return "";
  const gender = faces["best.gender"][face];
  return `appears ${gender}, ${percent(faces[`gender.${gender}`][face])}`;
}

function ageWords(face) {
  if (!known("age", face)) return "";
  const [low, high] = ["low", "high"].map((end) => faces[`age_interval.${end}`]?.[face]);
  const span = known("age_interval.low", face) && known("age_interval.high", face) ? `, likely ${Math.max(0, Math.round(low))} to ${Math.round(high)}` : "";
  return `appears ${Math.round(faces.age[face])} years old${span}`;
}

function appearance(face) {
  const parts = [];
  const limit = (field) => (limits[field] ? make("p", { class: "note" }, limits[field]) : null);
  if (known("best.expression", face)) {
    const order = moods.filter((mood) => known(mood.key, face)).sort((a, b) => faces[b.key][face] - faces[a.key][face]);
    parts.push(make("h4", {}, "Expression"), ...order.map((mood) => make("div", { class: "meter mood" }, make("span", {}, mood.title),
      make("i", { vars: { "--value": `${100 * faces[mood.key][face]}%`, "--colour": mood.colour } }), make("span", {}, percent(faces[mood.key][face])))), limit("expression"));
  }
  const age = ageWords(face);
  if (age) {
    const low = Math.max(0, faces["age_interval.low"]?.[face] ?? faces.age[face]);
    const high = faces["age_interval.high"]?.[face] ?? faces.age[face];
    const scale = (years) => `${Math.min(100, Math.max(0, years))}%`;
    parts.push(make("h4", {}, "Age"), make("p", {}, `${age[0].toUpperCase()}${age.slice(1)}${known("age_interval.low", face) ? " (9 of 10 such faces)" : ""}`),
      make("div", { class: "years", role: "img", "aria-label": age, vars: { "--low": scale(low), "--high": scale(high), "--at": scale(faces.age[face]) } }, make("i"), make("b")),
      make("div", { class: "scale", "aria-hidden": "true" }, ...[0, 20, 40, 60, 80, 100].map((years) => make("span", {}, String(years)))), limit("age"));
  }
  const gender = genderWords(face);
  if (gender) {
    const share = faces[`gender.${faces["best.gender"][face]}`][face];
    parts.push(make("h4", {}, "Gender"), make("div", { class: "meter mood" }, make("span", {}, gender.replace(/,.*/, "")),
      make("i", { vars: { "--value": `${100 * share}%` } }), make("span", {}, percent(share))), age && limits.age === limits.gender ? null : limit("gender"));
  }
  return parts;
}

function pictureTile(index) {
  const picture = pictures[index];
  const frame = make("span", { class: `frame${picture.error ? " bad" : ""}` });
  if (picture.error) frame.append(picture.error);
  else if (picture.thumbnail) frame.append(make("img", { src: picture.thumbnail, alt: "", loading: "lazy", decoding: "async" }), boxes(index));
  else frame.append("no thumbnail");
  const said = picture.error ? "unreadable" : words(picture.count);
  return make("button", { class: "tile", type: "button", "aria-label": `${picture.name}, ${said}`, title: picture.path, onclick: () => open(index) },
    frame, make("span", { class: "words" }, make("b", {}, picture.name), make("i", {}, said)));
}

const rectangle = (face, attributes) => {
  const [x1, y1, x2, y2] = faces.box[face];
  return draw("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, ...attributes });
};

function boxes(index, withPoints = false) {
  const picture = pictures[index];
  const sheet = draw("svg", { viewBox: `0 0 ${picture.size[0]} ${picture.size[1]}`, "aria-hidden": "true" });
  for (let face = picture.first; face < picture.first + picture.count; face += 1) {
    sheet.append(rectangle(face, { class: "halo" }), rectangle(face, { class: "box" }));
    const points = faces.landmarks[face];
    if (withPoints && points) for (let i = 0; i < points.length; i += 2) sheet.append(draw("path", { class: "point", d: `M${points[i]} ${points[i + 1]}h.01` }));
  }
  return sheet;
}

function renderTable(part) {
  const seen = columns.filter((column) => column.shown);
  const sort = (column) => (state.key !== column.key ? null : state.down ? "descending" : "ascending");
  const focused = document.activeElement?.dataset?.key;
  find("table").tHead.replaceChildren(make("tr", {}, ...seen.map((column) => make("th",
    { scope: "col", class: column.decimals === null ? "text" : null, "aria-sort": sort(column), title: column.about },
    make("button", { type: "button", "data-key": column.key, onclick: () => update({ key: column.key, down: state.key === column.key && !state.down }) }, column.title)))));
  if (focused) find("table").tHead.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  find("table").tBodies[0].replaceChildren(...part.map((entry) => {
    const picture = pictures[entry.picture];
    const name = make("td", { class: "text", title: picture.path }, make("button", { type: "button", onclick: () => open(entry.picture, entry.face) },
      entry.face < 0 ? make("span", { class: "crop" }) : crop(entry.face), make("span", {}, picture.name)));
    if (entry.face < 0) return make("tr", {}, name, make("td", { class: `empty${picture.error ? " bad" : ""}`, colspan: Math.max(1, seen.length - 1) }, picture.error ?? "no face"));
    return make("tr", {}, ...seen.map((column) => (column.key === "name" ? name
      : make("td", { class: column.decimals === null ? "text" : null }, shown(value(entry, column.key), column)))));
  }));
}

// ---- one picture, large

const viewer = find("viewer");
const current = { picture: -1, face: -1 };

function open(picture, face = -1) {
  current.picture = picture;
  current.face = face;
  renderViewer();
  if (!viewer.open) viewer.showModal();
  history.replaceState(null, "", `#picture-${picture}`);
}

function step(by) {
  const order = [...new Set(chosen.map((entry) => entry.picture))];
  const place = order.indexOf(current.picture);
  const next = order[(place + by + order.length) % order.length];
  if (next !== undefined) open(next);
}

function renderViewer() {
  const picture = pictures[current.picture];
  const only = picture.count === 1;
  if (only) current.face = picture.first;
  find("viewer-title").textContent = picture.name;
  viewer.querySelector(".path").textContent = `${picture.path}${picture.error ? "" : `, ${picture.size[0]} × ${picture.size[1]} px`}`;
  const stage = viewer.querySelector(".stage");
  const side = viewer.querySelector(".side");
  side.scrollTop = 0;
  if (picture.error) {
    stage.replaceChildren(make("p", { class: "trouble" }, "There is nothing to show: this picture could not be read."));
    side.replaceChildren(make("h3", {}, "What is wrong"), make("p", { class: "reason" }, picture.error), make("h3", {}, "What to do"), make("p", {}, picture.advice));
    return;
  }
  const sheet = make("div", { class: "sheet" });
  const image = make("img", { alt: `${picture.name}, ${words(picture.count)} marked` });
  const plain = (text) => {
    if (!picture.thumbnail) return stage.append(make("p", { class: "remark" }, "This picture was not kept."));
    image.src = picture.thumbnail;
    image.after(boxes(current.picture, true));
    return stage.append(make("p", { class: "remark" }, text));
  };
  sheet.append(image, overlay());
  stage.replaceChildren(sheet);
  if (picture.file) {
    image.addEventListener("error", () => plain("Only the thumbnail is inside this page: the folder pictures is not beside it."), { once: true });
    image.src = picture.file;
  } else plain("Only a thumbnail was kept.");
  side.replaceChildren(make("h3", {}, picture.count ? `${words(picture.count)} in this picture` : "No face was found in this picture"),
    make("ul", {}, ...Array.from({ length: picture.count }, (_, i) => faceItem(picture.first + i, only))));
  side.querySelector('[aria-expanded="true"]')?.scrollIntoView({ block: "nearest" });
}

function overlay() {
  const picture = pictures[current.picture];
  const [width, height] = picture.size;
  const sheet = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  if (current.face >= 0 && picture.count > 1) {
    const [x1, y1, x2, y2] = faces.box[current.face];
    sheet.append(draw("path", { class: "veil", d: `M0 0H${width}V${height}H0ZM${x1} ${y1}V${y2}H${x2}V${y1}Z` }), rectangle(current.face, { class: "box chosen" }));
  }
  for (let face = picture.first; face < picture.first + picture.count; face += 1) {
    const touch = rectangle(face, { class: "touch" });
    touch.addEventListener("click", () => pick(face));
    sheet.append(touch);
  }
  return sheet;
}

function pick(face) {
  const focused = document.activeElement?.dataset?.face;
  current.face = current.face === face ? -1 : face;
  renderViewer();
  if (focused !== undefined) viewer.querySelector(`[data-face="${focused}"]`)?.focus();
}

function faceItem(face, only) {
  const [x1, y1, x2, y2] = faces.box[face];
  const expanded = face === current.face;
  const turns = ["yaw", "pitch", "roll"].filter((key) => faces[key]?.[face] !== undefined && faces[key][face] !== null).map((key) => `${key} ${shown(faces[key][face], { decimals: 0 })}°`);
  const quality = faces["quality.UnifiedQualityScore"]?.[face];
  const best = columns.filter((column) => column.key.startsWith("best.") && column.key !== "best.gender").map((column) => faces[column.key][face]).filter(Boolean);
  const looks = [ageWords(face), genderWords(face)].filter(Boolean).join("; ");
  const head = make("button", { class: "pick", type: "button", "data-face": face, "aria-expanded": String(expanded), onclick: () => (only ? null : pick(face)) }, crop(face),
    make("span", {}, make("b", {}, [`Face ${faces.face[face]}`, ...best].join(", ")),
      make("small", {}, `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)} px${quality === undefined || quality === null ? "" : `, quality ${Math.round(quality)}`}`),
      make("small", {}, turns.join(", ")), looks ? make("small", {}, looks[0].toUpperCase() + looks.slice(1)) : null));
  return make("li", {}, head, expanded ? facts(face) : null);
}

function facts(face) {
  const numbers = columns.filter((column) => !["name", "face", "height"].includes(column.key) && !column.key.startsWith("best.") && faces[column.key][face] !== null);
  const list = (pairs) => make("dl", {}, ...pairs.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  const apart = /^(quality|expression|gender|age_interval)\.|^age$/;
  const plain = numbers.filter((column) => !apart.test(column.key));
  const quality = numbers.filter((column) => column.key.startsWith("quality."));
  const points = faces.landmarks[face];
  const names = ["left eye", "right eye", "nose", "left mouth corner", "right mouth corner"];
  return make("div", { class: "facts" },
    list([["Box, px", faces.box[face].map((number) => Math.round(number)).join(", ")], ...plain.map((column) => [column.title, `${shown(faces[column.key][face], column)}${/^(yaw|pitch|roll)$/.test(column.key) ? "°" : ""}`])]),
    ...appearance(face),
    ...(quality.length ? [make("h4", {}, "Quality, 0 to 100"), ...quality.map((column) => make("div", { class: "meter" }, make("span", {}, column.title),
      make("i", { vars: { "--value": `${faces[column.key][face]}%` } }), make("span", {}, shown(faces[column.key][face], column))))] : []),
    ...(points ? [make("h4", {}, "Landmarks, px"), list(names.map((name, i) => [name, `${Math.round(points[2 * i])}, ${Math.round(points[2 * i + 1])}`]))] : []));
}

// ---- controls

document.querySelectorAll('[name="view"]').forEach((radio) => radio.addEventListener("change", () => update({ view: radio.value })));
let waiting = 0;
find("query").addEventListener("input", (event) => {
  clearTimeout(waiting);
  waiting = setTimeout(() => update({ query: event.target.value }), 120);
});
find("show").addEventListener("change", (event) => update({ show: event.target.value }));
for (const key of ["height", "quality"]) find(key).addEventListener("input", (event) => update({ [key]: Number(event.target.value) || 0 }));
find("sort").append(make("option", { value: "" }, "order of the run"), ...columns.map((column) => make("option", { value: column.key }, column.title.toLowerCase())));
find("sort").addEventListener("change", (event) => update({ key: event.target.value, down: columns.some((column) => column.key === event.target.value && column.decimals !== null && column.key !== "face") }));
find("turn").addEventListener("click", () => update({ down: !state.down }));
for (const [id, by] of [["back", -1], ["next", 1]]) {
  find(id).addEventListener("click", () => {
    update({ page: state.page + by }, true);
    find("explorer").scrollIntoView();
  });
}
find("columns").lastElementChild.append(...columns.slice(1).map((column) => make("label", { title: column.about },
  make("input", { type: "checkbox", checked: column.shown, onchange: (event) => { column.shown = event.target.checked; render(); } }), column.title)));
document.addEventListener("click", (event) => { if (!find("columns").contains(event.target)) find("columns").open = false; });
viewer.addEventListener("click", (event) => { if (event.target === viewer || event.target.closest("[data-close]")) viewer.close(); });
viewer.querySelectorAll("[data-step]").forEach((button) => button.addEventListener("click", () => step(Number(button.dataset.step))));
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") step(event.key === "ArrowLeft" ? -1 : 1);
});
viewer.addEventListener("close", () => history.replaceState(null, "", "#explorer"));
function follow() {
  const index = Number(/^#picture-(\d+)$/.exec(location.hash)?.[1] ?? -1);
  if (pictures[index]) open(index);
}
addEventListener("hashchange", follow);
update({ view: faces.face.length ? "faces" : "pictures" });
document.querySelector(`[name="view"][value="${state.view}"]`).checked = true;
follow();
