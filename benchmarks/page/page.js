"use strict";
(() => {
  const body = document.querySelector("#rows tbody");
  const heads = [...document.querySelectorAll("#rows th")];
  const rows = () => [...body.rows];

  // Numbers by size, texts by the alphabet, what was not measured last.
  const compare = (a, b, numeric) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return numeric ? Number(a) - Number(b) : a.localeCompare(b);
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numeric = head.classList.contains("number");
      const value = (row) => row.cells[column].dataset.value;
      const sorted = rows().sort((a, b) => {
        const order = compare(value(a), value(b), numeric);
        const missing = value(a) === "" || value(b) === "";
        return down && !missing ? -order : order;
      });
      body.append(...sorted);
    });
  });

  const filters = [...document.querySelectorAll("#filters select")];
  const count = document.getElementById("count");
  const apply = () => {
    for (const row of rows()) {
      row.hidden = filters.some((f) => f.value !== "" && row.cells[f.dataset.column].textContent !== f.value);
    }
    count.textContent = `${rows().filter((row) => !row.hidden).length} of ${rows().length} rows`;
  };
  filters.forEach((filter) => filter.addEventListener("change", apply));
  apply();
})();
