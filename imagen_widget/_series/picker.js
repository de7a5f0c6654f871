// The picker in the browser: keys and clicks go to the kernel, which answers with markup; pictures
// come as bytes, each once. Esc gives the keys back to the notebook.

const KEYS = { ArrowLeft: "left", ArrowRight: "right" };

function render({ model, el }) {
  // Without the last attribute the notebook takes the keys for its own.
  el.innerHTML = `<div class="ims ims-pick mathjax_ignore tex2jax_ignore" role="group" tabindex="0"
    aria-label="Picker: 1 to 5 stars, 0 none, X reject, arrows, C compare, Z undo, Escape leaves"
    data-lm-suppress-shortcuts="true"><div></div><div class="ims-unseen" role="status"></div></div>`;
  const root = el.firstElementChild;
  const [shown, said] = root.children;
  const addresses = new Map();

  // A rating is for the picture that is seen, though the kernel may be further by now.
  function press(key) {
    const seen = /^[0-5x]$/.test(key) && shown.querySelector("[aria-current]");
    model.send({ press: seen ? `${key} ${seen.dataset.press.slice(3)}` : key });
  }

  function fill() {
    for (const image of shown.querySelectorAll("img[data-pic]")) {
      const address = addresses.get(image.dataset.pic);
      if (address && image.src !== address) image.src = address;
    }
  }

  // Its cell was just run, by Ctrl+Enter or Shift+Enter, and nobody is typing: the keys come here.
  function isAtHand() {
    const cell = el.closest(".jp-Cell"), active = document.activeElement || document.body;
    if (!cell) return active === document.body;
    const book = cell.closest(".jp-Notebook.jp-mod-commandMode");
    const chosen = book?.querySelector(".jp-Cell.jp-mod-active");
    if (!chosen || (chosen !== cell && chosen !== cell.nextElementSibling)) return false;
    return active.contains(book) || (book.contains(active) && !active.matches("input, textarea, select, [contenteditable]"));
  }

  function draw(html) {
    const focused = root.contains(document.activeElement) && document.activeElement !== root;
    const name = focused ? document.activeElement.dataset.press : null;
    shown.innerHTML = html;
    fill();
    if (focused) (name && shown.querySelector(`[data-press="${name}"]`) || root).focus({ preventScroll: true });
  }

  function onMessage(message, buffers) {
    if (message.html !== undefined) {
      draw(message.html);
      said.textContent = message.said;
      if (message.isNew && isAtHand()) root.focus({ preventScroll: true });
    } else if (message.picture) {
      URL.revokeObjectURL(addresses.get(message.picture) || "");
      addresses.set(message.picture, URL.createObjectURL(new Blob([buffers[0]], { type: "image/webp" })));
      fill();
    }
  }

  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isRange = event.target.type === "range";
    if (event.key === "Escape") {
      document.activeElement.blur();
    } else if (/^[0-5xXcCzZ]$/.test(event.key) || (KEYS[event.key] && !isRange)) {
      press(KEYS[event.key] || event.key.toLowerCase());
      event.preventDefault();
    }
  });
  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-press]");
    if (button) press(button.dataset.press);
  });
  root.addEventListener("focusout", (event) => {
    if (!root.contains(event.relatedTarget)) setTimeout(() => root.contains(document.activeElement) || press("leave"), 300);
  });

  model.on("msg:custom", onMessage);
  press("look");
  return () => {
    model.off("msg:custom", onMessage);
    addresses.forEach((address) => URL.revokeObjectURL(address));
  };
}

export default { render };
