// The page's own script: draws the figures, in light and dark, on screen and paper; sorts tables.
var report = (function () {
  "use strict";
  var narrow = window.innerWidth < 600;
  var touch = window.matchMedia("(pointer: coarse)").matches;
  var prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  var darkOf = JSON.parse(document.getElementById("dark-of").textContent);
  var config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
    // On by default since plotly.js 4: it would upload the customer's figure.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"]
  };
  var printing = false;

  function isDark() {
    var chosen = document.documentElement.dataset.theme;
    return !printing && (chosen ? chosen === "dark" : prefersDark.matches);
  }

  // Figures come in the light colours; in the dark each is exchanged for its counterpart.
  function recolored(value) {
    if (typeof value === "string") { return darkOf[value] || value; }
    if (Array.isArray(value)) { return value.map(recolored); }
    if (value && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (key) { copy[key] = recolored(value[key]); });
      return copy;
    }
    return value;
  }

  function figureOf(chart) {
    var figure = JSON.parse(document.getElementById(chart.dataset.figure).textContent);
    if (isDark()) { figure = recolored(figure); }
    // A finger that scrolls the page must not be caught by a chart.
    if (touch) { figure.layout.dragmode = false; }
    if (narrow && figure.layout.margin) {
      figure.layout.font = Object.assign({}, figure.layout.font, { size: 12 });
      if (figure.layout.margin.l < 60) {
        figure.layout.margin.l = 46;
        figure.layout.margin.r = 8;
      }
    }
    // Axes that a reader turned off and on again keep their range.
    figure.layout.uirevision = "kept";
    return figure;
  }

  function draw(chart) {
    try {
      var figure = figureOf(chart);
      if (printing) {
        figure.layout.autosize = false;
        figure.layout.width = 655;
      }
      Plotly.react(chart, figure.data, figure.layout, config);
      chart.dataset.drawn = "yes";
      chart.dispatchEvent(new CustomEvent("drawn", { bubbles: true }));
    } catch (error) {
      chart.textContent = "This chart could not be drawn: " + error.message;
      chart.dataset.drawn = "failed";
    }
  }

  var charts = Array.prototype.slice.call(document.querySelectorAll(".chart"));
  var waiting = charts.slice();

  // One at a time, so that the first is seen at once and the page can be scrolled meanwhile.
  function drawNext() {
    var next = waiting.findIndex(function (chart) {
      var box = chart.getBoundingClientRect();
      return box.bottom > 0 && box.top < window.innerHeight;
    });
    var chart = waiting.splice(Math.max(next, 0), 1)[0];
    if (chart) { draw(chart); }
    if (waiting.length) { window.setTimeout(drawNext, 0); }
  }

  function drawAll() {
    waiting = [];
    charts.forEach(draw);
  }

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    button.textContent = name === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(name === "dark"));
    try { window.localStorage.setItem("flexunet-theme", name); } catch (error) { /* a page of its own */ }
    charts.filter(function (chart) { return chart.dataset.drawn === "yes"; }).forEach(draw);
  }

  var button = document.getElementById("theme");
  var kept = null;
  try { kept = window.localStorage.getItem("flexunet-theme"); } catch (error) { kept = null; }
  if (kept === "dark" || kept === "light") { document.documentElement.dataset.theme = kept; }
  button.textContent = isDark() ? "Light" : "Dark";
  button.addEventListener("click", function () { setTheme(isDark() ? "light" : "dark"); });
  prefersDark.addEventListener("change", function () {
    if (!document.documentElement.dataset.theme) { drawAll(); }
  });

  drawNext();

  // Charts have a width in pixels and colours: give them the paper's before printing.
  window.addEventListener("beforeprint", function () { printing = true; drawAll(); });
  window.addEventListener("afterprint", function () { printing = false; drawAll(); });

  function compare(a, b, ascending) {
    if (a === b) { return 0; }
    // Undefined cells stay last in both directions.
    if (a === "") { return 1; }
    if (b === "") { return -1; }
    var x = Number(a), y = Number(b);
    var order = isNaN(x) || isNaN(y) ? (a < b ? -1 : 1) : x - y;
    return ascending ? order : -order;
  }

  document.querySelectorAll("table.matrix").forEach(function (table) {
    var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      head.querySelector("button").addEventListener("click", function () {
        var ascending = head.getAttribute("aria-sort") === "descending";
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        var body = table.tBodies[0];
        var rows = Array.prototype.slice.call(body.rows);
        rows.sort(function (a, b) {
          return compare(a.cells[column].dataset.v, b.cells[column].dataset.v, ascending);
        });
        rows.forEach(function (row) { body.appendChild(row); });
      });
    });
  });

  // A row of buttons of which one is chosen: [role=group] of buttons with data-show, and elements with
  // data-shown of the same value inside the card.
  document.querySelectorAll("[data-switch]").forEach(function (group) {
    var scope = group.closest(".card") || document;
    var buttons = Array.prototype.slice.call(group.querySelectorAll("button"));
    function choose(value) {
      buttons.forEach(function (other) {
        other.setAttribute("aria-pressed", String(other.dataset.show === value));
      });
      scope.querySelectorAll("[data-shown]").forEach(function (part) {
        part.hidden = part.dataset.shown !== value;
        if (!part.hidden) {
          part.querySelectorAll(".chart").forEach(function (chart) {
            if (chart.dataset.drawn === "yes") { Plotly.Plots.resize(chart); }
          });
        }
      });
      group.dispatchEvent(new CustomEvent("chosen", { detail: value, bubbles: true }));
    }
    buttons.forEach(function (one) {
      one.addEventListener("click", function () { choose(one.dataset.show); });
    });
  });

  return { charts: charts, draw: draw, figureOf: figureOf, isDark: isDark, recolored: recolored };
})();
