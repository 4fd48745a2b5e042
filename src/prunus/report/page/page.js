"use strict";

const plots = [...document.querySelectorAll(".plot")];
const drawn = new Set();
const touched = matchMedia("(pointer: coarse)").matches; // a finger on a plot scrolls the page
const hovering = matchMedia("(hover: hover)").matches;
const config = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["toImage", "resetScale2d"]],
  toImageButtonOptions: { format: "svg" },
};

/** A copy of `value` in which the names of colours in page.css are the colours that they stand for now. */
function coloured(value, colours, key = "") {
  if (Array.isArray(value)) return value.map((part) => coloured(part, colours, key));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, coloured(part, colours, name)]));
  return key.includes("color") && typeof value === "string" && value.startsWith("--")
    ? colours.getPropertyValue(value).trim()
    : value;
}

/** Draw or redraw a plot as its legend, its zoom and the colours are now. */
function draw(plot) {
  const figure = plot.closest("figure");
  const spec = coloured(JSON.parse(plot.nextElementSibling.textContent), getComputedStyle(document.documentElement));
  const hidden = new Set(
    [...figure.querySelectorAll('.key[aria-pressed="false"]')].map((button) => button.dataset.series),
  );
  const zoomed = figure.querySelector('.zoom[aria-pressed="true"]') !== null;
  const data = spec.data.map((trace) => ({ ...trace, visible: !hidden.has(trace.legendgroup) }));
  const layout = { ...spec.layout, uirevision: zoomed };
  if (zoomed) layout.yaxis = { ...layout.yaxis, range: spec.zoom, autorange: false };
  if (touched) layout.dragmode = false;
  const bar = hovering && !plot.closest(".pictures") && "hover";
  Plotly.react(plot, data, layout, { ...config, displayModeBar: bar });
  if (!drawn.has(plot)) plot.on("plotly_click", (event) => pick(figure, event.points[0].customdata));
  drawn.add(plot);
}

/** Say below the figure what a point is, with links to its runs. */
function pick(figure, point) {
  if (!point) return;
  const line = figure.querySelector(".picked");
  line.textContent = point.text;
  for (const [run, value] of point.runs) {
    const link = document.createElement("a");
    link.href = `#run-${run}`;
    link.textContent = run;
    const item = document.createElement("span");
    item.append(`${value} `, link);
    line.append(" ", item);
  }
}

for (const button of document.querySelectorAll(".key, .zoom"))
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    button.closest("figure").querySelectorAll(".plot").forEach(draw);
  });

const seen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting) {
        seen.unobserve(target);
        draw(target);
      }
  },
  { rootMargin: "600px" },
);
plots.forEach((plot) => seen.observe(plot));

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
addEventListener("beforeprint", () => plots.forEach(draw));
