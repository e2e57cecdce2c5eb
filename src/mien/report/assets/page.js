"use strict";
const table = document.getElementById("faces");
const body = table.tBodies[0];
const heads = [...table.querySelectorAll("th")];

function value(row, column) {
  const text = row.cells[column].textContent;
  const number = Number(text);
  return text !== "" && !Number.isNaN(number) ? number : text;
}

heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
  const down = head.getAttribute("aria-sort") === "ascending";
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows];
  rows.sort((a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return down ? -order : order;
  });
  body.append(...rows);
}));

document.getElementById("filter").addEventListener("input", (event) => {
  const part = event.target.value.toLowerCase();
  for (const row of body.rows) row.hidden = !row.cells[0].title.toLowerCase().includes(part);
});
