// Hyperparameters: another class in the slices, brushing the parallel coordinates.
(function () {
  "use strict";
  var source = document.getElementById("parameter-trials");
  if (!source) { return; }
  var trials = JSON.parse(source.textContent);

  function short(value) { return value === null ? "–" : String(Number(value.toPrecision(3))); }

  function bestRow(target) {
    var best = -1;
    target.values.forEach(function (value, row) {
      if (value !== null && (best < 0 || value > target.values[best])) { best = row; }
    });
    return best;
  }

  // As figures.drawing.label: Plotly reads a little markup.
  function label(text, most) {
    var cut = text.length <= most ? text : text.slice(0, most - 1) + "…";
    return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function axisTitle(target) { return target === trials.targets[0] ? target.name : "Dice of " + target.name; }

  (function slices() {
    var card = document.getElementById("slices");
    var select = card && card.querySelector("select.target");
    if (!select) { return; }

    function show(chart) {
      var target = trials.targets[Number(select.value)];
      // The marks of a kind stand in the order of the trials.
      var columns = chart.data.map(function (trace) {
        return target.values.filter(function (_, row) { return trials.kinds[row] === trace.name; });
      });
      Plotly.update(chart, { y: columns }, { "yaxis.title.text": label(axisTitle(target), 30) });
    }

    function tell() {
      var target = trials.targets[Number(select.value)];
      var row = bestRow(target);
      card.querySelector(".shown-target").textContent = row < 0 ? "Undefined in every trial shown." :
        "Its best trial is " + trials.numbers[row] + ", " + target.values[row].toFixed(3) + ".";
    }

    select.addEventListener("change", function () {
      card.querySelectorAll(".chart[data-drawn='yes']").forEach(show);
      tell();
    });
    card.addEventListener("drawn", function (event) {
      if (select.value !== "0") { show(event.target); }
    });
    tell();
  })();

  (function brush() {
    var card = document.getElementById("brush");
    var chart = document.getElementById("parallel");
    if (!chart) { return; }
    var select = card.querySelector("select.target");
    var least = card.querySelector("input.least");
    var body = card.querySelector(".kept-table tbody");
    var chosen = 0;  // the target that colours the lines
    var drawnClass = 1;  // the class that has an axis, where only one has
    var parts = {};  // by axis, the ranges that are kept
    var bound = false;
    var onPaper = false;

    function targetOfAxis(axis) {
      var place = axis - trials.fields.length;
      return trials.targets[place > 0 && trials.one_class ? drawnClass : place];
    }
    function axisOfTarget(index) {
      return trials.fields.length + (index > 0 && trials.one_class ? 1 : index);
    }
    function axes() { return chart.data[0].dimensions.length; }
    function valuesOf(axis) {
      if (axis < trials.fields.length) { return trials.fields[axis].places; }
      return targetOfAxis(axis).values.map(function (value) {
        return value === null ? trials.undefined : value;
      });
    }

    function isKept(row) {
      return Object.keys(parts).every(function (axis) {
        var value = valuesOf(Number(axis))[row];
        return parts[axis].some(function (range) {
          return value !== null && value >= range[0] - 1e-4 && value <= range[1] + 1e-4;
        });
      });
    }

    // What some trials have of a field or a target, in words.
    function had(axis, rows) {
      var field = trials.fields[axis];
      var values = (field ? field.places : targetOfAxis(axis).values);
      var known = rows.map(function (row) { return values[row]; })
        .filter(function (value) { return value !== null; });
      if (!known.length) { return "–"; }
      if (field && field.choices.length) {
        return field.choices.map(function (text, place) {
          return [text, known.filter(function (value) { return value === place; }).length];
        }).filter(function (pair) { return pair[1]; })
          .map(function (pair) { return pair[0] + " (" + pair[1] + ")"; }).join(", ");
      }
      var read = function (place) { return short(field && field.log ? Math.pow(10, place) : place); };
      var low = read(Math.min.apply(null, known)), high = read(Math.max.apply(null, known));
      return low === high ? low : low + " to " + high;
    }

    function fill(kept, all) {
      body.textContent = "";
      for (var axis = 0; axis < axes(); axis += 1) {
        var row = body.insertRow();
        var head = document.createElement("th");
        head.scope = "row";
        head.textContent = trials.fields[axis] ? trials.fields[axis].name : axisTitle(targetOfAxis(axis));
        row.appendChild(head);
        row.insertCell().textContent = had(axis, kept);
        row.insertCell().textContent = had(axis, all);
      }
    }

    function tell() {
      var all = trials.numbers.map(function (_, row) { return row; });
      var kept = all.filter(isKept);
      var brushed = Object.keys(parts).length > 0;
      var text = "All " + all.length + " trials shown are kept: drag along an axis, or ask for a least Dice above.";
      if (brushed) {
        text = kept.length + " of " + all.length + " trials are kept.";
        var target = trials.targets[chosen];
        var best = kept.reduce(function (found, row) {
          var value = target.values[row];
          return value !== null && (found < 0 || value > target.values[found]) ? row : found;
        }, -1);
        if (best >= 0) {
          text += " Best of them: trial " + trials.numbers[best] + ", " + axisTitle(target) + " " +
            target.values[best].toFixed(3) + ".";
        } else if (!kept.length) {
          text += " Ask for less, or clear.";
        }
      }
      card.querySelector(".kept").textContent = text;
      card.querySelector(".kept-table").hidden = !brushed || !kept.length;
      if (brushed) { fill(kept, all); }
    }

    function colours() {
      var values = trials.targets[chosen].values.map(function (value) { return value === null ? 0 : value; });
      return { "line.color": [values], "line.cmin": 0, "line.cmax": Math.max.apply(null, values) || 1 };
    }

    // The one axis of a class, where there are too many for each to have one.
    function classAxis() {
      var axis = trials.fields.length + 1, target = trials.targets[drawnClass], change = {};
      var values = valuesOf(axis), top = Math.max(0.05, Math.max.apply(null, values));
      var undefinedHere = target.values.indexOf(null) >= 0;
      var ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].filter(function (tick) { return tick <= top; });
      var start = "dimensions[" + axis + "].";
      change[start + "label"] = label(target.name, 16);
      change[start + "values"] = [values];
      change[start + "range"] = [[undefinedHere ? trials.undefined : 0, top]];
      change[start + "tickvals"] = [undefinedHere ? [trials.undefined].concat(ticks) : ticks];
      change[start + "ticktext"] = [(undefinedHere ? ["undefined"] : []).concat(
        ticks.map(function (tick) { return tick.toFixed(1); }))];
      return change;
    }

    function apply() {
      var change = colours();
      if (trials.one_class) { Object.assign(change, classAxis()); }
      // On paper the axes stand close.
      if (onPaper) { Object.assign(change, { labelangle: -25, "labelfont.size": 10, "tickfont.size": 8 }); }
      for (var axis = 0; axis < axes(); axis += 1) {
        change["dimensions[" + axis + "].constraintrange"] = parts[axis] ? [parts[axis]] : null;
      }
      Plotly.restyle(chart, change, [0]);
    }

    function read() {
      parts = {};
      chart.data[0].dimensions.forEach(function (dimension, axis) {
        var range = dimension.constraintrange;
        if (range && range.length) { parts[axis] = Array.isArray(range[0]) ? range : [range]; }
      });
      showLeast();
      tell();
    }

    // The input tells what is kept of the chosen one; what is kept of others stands.
    function showLeast() {
      var range = parts[axisOfTarget(chosen)];
      least.value = range && range.length === 1 && range[0][0] > 0 ? short(range[0][0]) : "";
    }

    function keepLeast() {
      var axis = axisOfTarget(chosen), value = parseFloat(least.value);
      delete parts[axis];
      if (isFinite(value)) { parts[axis] = [[value, Math.max(1, value)]]; }
    }

    card.addEventListener("drawn", function () {
      // Parallel coordinates keep the places of their axes: on paper they are made anew.
      if (Boolean(chart.layout.width) !== onPaper) {
        onPaper = !onPaper;
        bound = false;
        Plotly.purge(chart);
        report.draw(chart);
        return;
      }
      if (!bound) {
        bound = true;
        chart.on("plotly_restyle", function (told) {
          var brushed = Object.keys(told[0] || {}).some(function (key) {
            return key.indexOf("constraintrange") >= 0 && Object.keys(told[0]).length === 1;
          });
          if (brushed) { read(); }
        });
      }
      apply();
      tell();
    });
    select.addEventListener("change", function () {
      chosen = Number(select.value);
      if (trials.one_class && chosen > 0) {
        drawnClass = chosen;
        delete parts[axisOfTarget(chosen)];
      }
      showLeast();
      apply();
      tell();
    });
    least.addEventListener("input", function () { keepLeast(); apply(); tell(); });
    card.querySelector("button.clear").addEventListener("click", function () {
      parts = {};
      least.value = "";
      apply();
      tell();
    });
  })();
})();
