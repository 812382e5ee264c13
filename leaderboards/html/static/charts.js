// Draws the charts of a page. Vega interprets its expressions (ast), for the page's policy forbids to compile any.
(() => {
  "use strict";
  const WIDEST = 880;
  const look = (narrow) => {
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
    return {
      background: null,
      font: "system-ui, sans-serif",
      view: { stroke: null },
      axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: soft, tickColor: soft },
      legend: { labelColor: ink, titleColor: ink, columns: narrow ? 2 : 6 },
      axisY: { labelLimit: narrow ? 110 : 260 },
      text: { color: ink },
      rule: { color: soft },
      line: { color: soft },
    };
  };

  function draw(figure) {
    const spec = JSON.parse(figure.querySelector(".spec").textContent);
    const target = figure.querySelector(".drawing");
    const room = target.clientWidth;
    if (!room) return; // not shown: drawn once it is
    spec.width = Math.min(WIDEST, room);
    spec.autosize = { type: "fit-x", contains: "padding" };
    const narrow = room < 560;
    const options = {
      ast: true, actions: false, logLevel: 1, renderer: "svg", defaultStyle: false, config: look(narrow), tooltip: { disableDefaultStyle: true },
    };
    window.vegaEmbed(target, spec, options).then(
      () => target.querySelector("svg")?.setAttribute("role", "presentation"),
      (error) => { target.textContent = `This chart cannot be drawn: ${error.message}`; },
    );
  }

  const drawAll = () => document.querySelectorAll(".chart").forEach(draw);

  function choices() {
    const axis = document.getElementById("axis");
    if (!axis) return;
    const show = () => document.querySelectorAll(".choice").forEach((part) => {
      part.hidden = part.querySelector(".chart").id !== axis.value;
      if (!part.hidden) draw(part.querySelector(".chart"));
    });
    axis.addEventListener("change", show);
    document.querySelectorAll(".choice").forEach((part) => { part.hidden = part.querySelector(".chart").id !== axis.value; });
  }

  choices();
  drawAll();
  document.addEventListener("theme", drawAll);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawAll(); } });
})();
