// Buttons that copy the text of another element: <button data-copy="its id" hidden>.
(function () {
  "use strict";
  var status = document.querySelector(".copied");

  function select(source) {
    var range = document.createRange();
    range.selectNodeContents(source);
    var selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  function tell(button, text) {
    button.textContent = text;
    if (status) { status.textContent = text; }
    window.setTimeout(function () { button.textContent = "Copy"; }, 2000);
  }

  // A page opened from a disk may not write to the clipboard: then the text is selected.
  function selectInstead(button, source) {
    select(source);
    var done = false;
    try { done = document.execCommand("copy"); } catch (error) { done = false; }
    tell(button, done ? "Copied" : "Selected");
  }

  document.querySelectorAll("button[data-copy]").forEach(function (button) {
    var source = document.getElementById(button.dataset.copy);
    button.hidden = false;
    button.addEventListener("click", function () {
      if (!navigator.clipboard) { selectInstead(button, source); return; }
      navigator.clipboard.writeText(source.textContent).then(
        function () { tell(button, "Copied"); },
        function () { selectInstead(button, source); }
      );
    });
  });
})();
