// Theme, sortable tables and filters of every page. No text becomes markup here.
(() => {
  "use strict";
  const root = document.documentElement;
  const KEPT = "harness-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const kept = () => { try { return localStorage.getItem(KEPT); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem(KEPT, theme); } catch { /* nothing may be kept here */ } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  if (["dark", "light"].includes(kept())) root.dataset.theme = kept();

  function themeButton() {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    const changed = () => { show(); document.dispatchEvent(new Event("theme")); };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      keep(root.dataset.theme);
      changed();
    });
    dark.addEventListener("change", changed);
    show();
  }

  // ---------------------------------------------------------------- sorting

  function value(cell, number) {
    if (!number) return cell.textContent.trim().toLowerCase();
    const text = cell.dataset.value ?? cell.textContent.replaceAll(",", "");
    return text.trim() === "" || Number.isNaN(Number.parseFloat(text)) ? null : Number.parseFloat(text);
  }

  function compared(one, other, way) {
    if (one === null || other === null) return (one === null) - (other === null); // what has no figure stands last
    return way * (typeof one === "number" ? one - other : one.localeCompare(other, undefined, { numeric: true }));
  }

  function sort(table, place, number) {
    const heads = [...table.tHead.rows[0].cells];
    const falling = heads[place].getAttribute("aria-sort") === "descending"
      || (heads[place].getAttribute("aria-sort") === null && !number);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[place].setAttribute("aria-sort", falling ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[place], number), row]);
    rows.sort((one, other) => compared(one[0], other[0], falling ? 1 : -1));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  function sortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      if ("fixed" in head.dataset) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, place, head.dataset.kind === "number"));
      head.append(button);
    });
  }

  // ---------------------------------------------------------------- filters

  const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"} shown`;

  function filters(form) {
    const chosen = () => Object.fromEntries([...form.querySelectorAll("[data-filter]")].map((s) => [s.dataset.filter, s.value]));
    const apply = () => {
      const wanted = chosen();
      let shown = 0;
      for (const board of document.querySelectorAll(".board, .together")) {
        const fits = ["task", "model", "labels", "track"].every((name) => !wanted[name] || board.dataset[name] === wanted[name]);
        const rows = [...board.querySelectorAll("tbody tr")];
        rows.forEach((row) => {
          row.hidden = Boolean(wanted.aligner) && row.dataset.aligner !== wanted.aligner && row.dataset.aligner !== "base";
        });
        const has = !wanted.aligner || rows.some((row) => row.dataset.aligner === wanted.aligner);
        board.hidden = !(fits && has);
        shown += board.classList.contains("board") && !board.hidden;
      }
      document.getElementById("shown").textContent = counted(shown, "table");
    };
    form.addEventListener("change", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  function finder(form) {
    const rows = [...document.querySelectorAll("#records tbody tr")];
    const apply = () => {
      const words = form.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
      const hits = rows.filter((row) => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        return !row.hidden;
      });
      document.getElementById("shown").textContent = counted(hits.length, "record");
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  document.addEventListener("DOMContentLoaded", () => {
    themeButton();
    document.querySelectorAll("table.sortable").forEach(sortable);
    const form = document.getElementById("filters");
    if (form) filters(form);
    const find = document.getElementById("find");
    if (find) finder(find);
  });
})();
