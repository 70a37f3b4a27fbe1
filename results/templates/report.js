(function () {
  "use strict";
  var narrow = window.innerWidth < 600;
  var touch = window.matchMedia("(pointer: coarse)").matches;
  var config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
    // On by default since plotly.js 4: it would upload the customer's figure.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"]
  };

  function draw(chart) {
    var data = document.getElementById(chart.dataset.figure);
    var figure = JSON.parse(data.textContent);
    // A finger that scrolls the page must not be caught by a chart.
    if (touch) { figure.layout.dragmode = false; }
    if (narrow) {
      figure.layout.font.size = 12;
      if (figure.layout.margin.l < 60) {
        figure.layout.margin.l = 46;
        figure.layout.margin.r = 8;
      }
    }
    return Plotly.newPlot(chart, figure.data, figure.layout, config);
  }

  var charts = Array.prototype.slice.call(document.querySelectorAll(".chart"));
  charts.forEach(function (chart) {
    try {
      draw(chart);
    } catch (error) {
      chart.textContent = "This chart could not be drawn: " + error.message;
    }
  });

  // Charts have a width in pixels: give them the paper's before printing.
  window.addEventListener("beforeprint", function () {
    charts.forEach(function (chart) { Plotly.relayout(chart, { autosize: false, width: 655 }); });
  });
  window.addEventListener("afterprint", function () {
    charts.forEach(function (chart) { Plotly.relayout(chart, { autosize: true, width: null }); });
  });

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
})();
