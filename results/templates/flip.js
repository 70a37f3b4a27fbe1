// Flips through the predictions of a training: one slider for all images.
(function () {
  "use strict";
  var slider = document.getElementById("flip");
  if (!slider) { return; }
  var data = JSON.parse(document.getElementById("flip-data").textContent);
  var frames = Array.prototype.slice.call(document.querySelectorAll(".flip-frame"));
  var play = document.getElementById("flip-play");
  var best = document.getElementById("flip-best");
  var last = data.epochs.length - 1;
  var timer = null;

  function text(value) { return value === null ? "–" : value.toFixed(3); }

  function show(place) {
    var now = Math.min(Math.max(place, 0), last);
    var numbers = data.epochs[now];
    slider.value = String(now);
    slider.setAttribute("aria-valuetext", "epoch " + numbers.epoch);
    document.getElementById("flip-epoch").textContent =
      "Epoch " + numbers.epoch + (numbers.epoch === data.best ? " (best)" : "");
    var parts = ["training loss " + text(numbers.train)];
    if (numbers.validation !== null) { parts.push("validation loss " + text(numbers.validation)); }
    if (numbers.mean !== null) {
      parts.push("mean Dice " + text(numbers.mean));
      numbers.dice.forEach(function (pair) { parts.push(pair[0] + " " + text(pair[1])); });
    }
    document.getElementById("flip-scores").textContent = parts.join(" · ");
    frames.forEach(function (frame, image) {
      var source = data.images[image][now];
      frame.hidden = !source;
      frame.parentNode.querySelector(".flip-missing").hidden = Boolean(source);
      if (source) { frame.src = source; }
    });
  }

  function stop() {
    window.clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }

  function start() {
    if (Number(slider.value) === last) { show(0); }
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    // All epochs in some eight seconds, none faster than the eye.
    timer = window.setInterval(function () {
      if (Number(slider.value) === last) { stop(); } else { show(Number(slider.value) + 1); }
    }, Math.min(Math.max(8000 / (last + 1), 80), 600));
  }

  function jump(place) { stop(); show(place); }

  function showBest() {
    var place = data.epochs.findIndex(function (numbers) { return numbers.epoch === data.best; });
    if (place >= 0) { jump(place); }
  }

  slider.addEventListener("input", function () { jump(Number(slider.value)); });
  play.addEventListener("click", function () { if (timer === null) { start(); } else { stop(); } });
  document.getElementById("flip-back").addEventListener("click", function () { jump(Number(slider.value) - 1); });
  document.getElementById("flip-on").addEventListener("click", function () { jump(Number(slider.value) + 1); });
  if (best) { best.addEventListener("click", showBest); }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    var now = Number(slider.value);
    var moves = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last };
    if (event.key in moves) {
      event.preventDefault();
      jump(moves[event.key]);
    } else if (event.key === "b" || event.key === "B") {
      showBest();
    }
  });

  show(last);
})();
