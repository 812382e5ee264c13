// The sample viewer: two runs side by side. Rows come from scripts, a hundred at a time; every text is a text node.
(() => {
  "use strict";
  const PAGE = 20;
  const LONGEST = 600; // words: longer answers are shown without marks
  const QUESTION = ["prompt", "instruction", "question"];
  const ANSWER = ["output", "answer", "response", "completion"];
  const GOLD = ["reference", "gold", "target", "chosen", "rejected"];
  const $ = (name) => document.getElementById(name);
  const runs = [];
  const rows = new Map();
  const waiting = new Map();
  let start = 0;
  let asked = 0;

  // What the scripts of `data/` call.
  window.harnessSamples = {
    index(found) { runs.push(...found); },
    rows(run, chunk, found) {
      const parts = rows.get(run) ?? [];
      parts[chunk] = found;
      rows.set(run, parts);
    },
  };

  function load(path) {
    if (!waiting.has(path)) {
      waiting.set(path, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = path;
        script.addEventListener("load", done);
        script.addEventListener("error", () => failed(new Error(`${path} is missing`)));
        document.head.append(script);
      }));
    }
    return waiting.get(path);
  }

  async function samples(run) {
    if (!run) return [];
    await Promise.all(Array.from({ length: run.chunks }, (_, n) => load(`data/${run.run}-${n}.js`)));
    return (rows.get(run.run) ?? []).flat();
  }

  // ---------------------------------------------------------------- texts

  function made(tag, text, name) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  }

  function words(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "string") return value;
    if (Array.isArray(value) && value.length && value.every((part) => part && typeof part.content === "string")) {
      return value.map((part) => `${part.role}: ${part.content}`).join("\n\n");
    }
    if (Array.isArray(value) && value.every((part) => typeof part === "number")) return value.map((n) => n.toFixed(3)).join(", ");
    return JSON.stringify(value, null, 1);
  }

  function picked(row, names) {
    const name = names.find((one) => row && one in row.detail);
    return name === undefined ? "" : words(row.detail[name]);
  }

  // Words of `mine` that are not in the longest common run of words with `other`.
  function differing(mine, other) {
    const [a, b] = [mine.length, other.length];
    const width = b + 1;
    const length = new Uint16Array((a + 1) * width);
    for (let i = a - 1; i >= 0; i -= 1) {
      for (let j = b - 1; j >= 0; j -= 1) {
        length[i * width + j] = mine[i] === other[j]
          ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
      }
    }
    const marked = new Array(a).fill(true);
    for (let i = 0, j = 0; i < a && j < b;) {
      if (mine[i] === other[j]) { marked[i] = false; i += 1; j += 1; }
      else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) i += 1;
      else j += 1;
    }
    return marked;
  }

  function marked(mine, other) {
    const place = made("p", undefined, "text");
    const [own, others] = [mine.split(/(?<=\s)/u), other.split(/(?<=\s)/u)];
    if (!other || own.length > LONGEST || others.length > LONGEST) {
      place.textContent = mine;
      return place;
    }
    const marks = differing(own, others);
    own.forEach((word, i) => place.append(marks[i] ? made("mark", word) : document.createTextNode(word)));
    return place;
  }

  function figures(row) {
    const place = made("dl", undefined, "figures");
    for (const [name, value] of Object.entries(row.values)) {
      place.append(made("dt", name), made("dd", String(Number(value.toFixed(4)))));
    }
    return place;
  }

  // ---------------------------------------------------------------- one item

  function side(title, run, row, other) {
    const place = made("div", undefined, "side");
    const value = row?.values[run.metric];
    const figure = value === undefined ? "" : `, ${run.metric} ${Number(value.toFixed(4))}`;
    place.append(made("h3", `${title}: ${run.label}${figure}`));
    if (!row) { place.append(made("p", "This run has no such item.", "soft")); return place; }
    const answer = picked(row, ANSWER);
    if (answer) place.append(marked(answer, picked(other, ANSWER)));
    else place.append(figures(row));
    const verdict = row.detail.verdict;
    if (verdict) {
      place.append(made("h3", "Judge, per order"));
      place.append(made("p", words(verdict.per_order ?? verdict), "text"));
    }
    const rest = Object.fromEntries(Object.entries(row.detail).filter(([name]) => ![...QUESTION, ...ANSWER, ...GOLD, "verdict"].includes(name)));
    const more = made("details");
    more.append(made("summary", "Everything of this row"), made("pre", JSON.stringify({ unit: row.unit, values: row.values, ...rest }, null, 1)));
    place.append(more);
    return place;
  }

  function item(found, a, b) {
    const place = made("article", undefined, "item");
    const heading = made("h2");
    const link = made("a", found.id);
    link.href = `#${address({ item: found.id })}`;
    heading.append(link);
    place.append(heading);
    const row = found.a ?? found.b;
    const question = picked(row, QUESTION);
    if (question) place.append(made("p", question, "text"));
    for (const name of GOLD.filter((one) => one in row.detail && row.detail[one] !== null)) {
      place.append(made("h3", name), made("p", words(row.detail[name]), "text"));
    }
    if (!Object.keys(row.detail).length) place.append(made("p", "The texts of this item are not published; its figures are.", "soft"));
    const sides = made("div", undefined, "sides");
    sides.append(side("A", a, found.a, found.b));
    if (b) sides.append(side("B", b, found.b, found.a));
    place.append(sides);
    if (found.id === asking().get("item")) place.classList.add("target");
    return place;
  }

  // ---------------------------------------------------------------- choosing

  const asking = () => new URLSearchParams(location.hash.slice(1));
  function address(more) {
    const parts = new URLSearchParams();
    for (const name of ["a", "b", "show", "words"]) if ($(name).value) parts.set(name, $(name).value);
    for (const [name, value] of Object.entries(more)) parts.set(name, value);
    return parts.toString();
  }

  function paired(mine, others) {
    const there = new Map(others.map((row) => [row.id, row]));
    return mine.map((row) => ({ id: row.id, a: row, b: there.get(row.id) }));
  }

  function wanted(found, run) {
    const [one, other] = [found.a?.values[run.metric], found.b?.values[run.metric]];
    const show = $("show").value;
    const [better, worse] = run.falling ? [one < other, one > other] : [one > other, one < other];
    if (show === "wins" && !better) return false;
    if (show === "losses" && !worse) return false;
    if (show === "differ" && picked(found.a, ANSWER) === picked(found.b, ANSWER) && one === other) return false;
    const text = $("words").value.toLowerCase();
    return !text || JSON.stringify([found.a, found.b]).toLowerCase().includes(JSON.stringify(text).slice(1, -1));
  }

  async function show() {
    const ticket = (asked += 1);
    const [a, b] = ["a", "b"].map((name) => runs.find((run) => run.run === $(name).value));
    if (!a) { $("count").textContent = "There are no samples here."; return; }
    $("count").textContent = "Loading …";
    let all;
    try { all = paired(await samples(a), await samples(b)); } catch (error) { $("count").textContent = error.message; return; }
    if (ticket !== asked) return; // somebody chose again meanwhile
    const hits = all.filter((found) => wanted(found, a));
    const target = asking().get("item");
    const place = hits.findIndex((found) => found.id === target);
    if (place >= 0 && start < 0) start = Math.floor(place / PAGE) * PAGE;
    start = Math.max(0, Math.min(start, Math.max(0, Math.floor((hits.length - 1) / PAGE) * PAGE)));
    const page = hits.slice(start, start + PAGE);
    $("count").textContent = page.length ? `Items ${start + 1} to ${start + page.length} of ${hits.length}` : "No item fits.";
    $("items").replaceChildren(...page.map((found) => item(found, a, b)));
    $("back").disabled = start === 0;
    $("on").disabled = start + PAGE >= hits.length;
    document.querySelector(".target")?.scrollIntoView({ block: "start" });
  }

  function options(select, values, chosen) {
    select.replaceChildren(...values.map(([value, text]) => { const one = made("option", text); one.value = value; return one; }));
    if (values.some(([value]) => value === chosen)) select.value = chosen;
  }

  const named = (run) => `${run.label}, ${run.labels} labels, ${run.seeds}`;
  function fillRuns(chosen) {
    const here = runs.filter((run) => run.task === $("task").value);
    options($("a"), here.map((run) => [run.run, named(run)]), chosen.get("a"));
    fillOther(chosen.get("b"));
  }

  function fillOther(chosen) {
    const a = runs.find((run) => run.run === $("a").value);
    const others = runs.filter((run) => a && run !== a && run.items === a.items);
    options($("b"), [["", "none"], ...others.map((run) => [run.run, named(run)])], chosen ?? others[0]?.run);
  }

  function begin() {
    const chosen = asking();
    const tasks = [...new Set(runs.map((run) => run.task))];
    const task = runs.find((run) => run.run === chosen.get("a"))?.task ?? chosen.get("task");
    options($("task"), tasks.map((name) => [name, name]), task);
    fillRuns(chosen);
    if (chosen.get("show")) $("show").value = chosen.get("show");
    $("words").value = chosen.get("words") ?? "";
    start = -1;
    show();
  }

  function moved() {
    start = 0;
    history.replaceState(null, "", `#${address({})}`);
    show();
  }

  $("task").addEventListener("change", () => { fillRuns(new URLSearchParams()); moved(); });
  $("a").addEventListener("change", () => { fillOther($("b").value); moved(); });
  ["b", "show"].forEach((name) => $(name).addEventListener("change", moved));
  $("words").addEventListener("input", moved);
  $("viewer").addEventListener("submit", (event) => event.preventDefault());
  $("back").addEventListener("click", () => { start -= PAGE; show(); scrollTo(0, 0); });
  $("on").addEventListener("click", () => { start += PAGE; show(); scrollTo(0, 0); });
  addEventListener("hashchange", begin);
  load("data/index.js").then(begin, (error) => { $("count").textContent = error.message; });
})();
