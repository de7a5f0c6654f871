// What stock controls cannot do: Ctrl/Cmd+Enter, names for screen readers, a live region,
// downloads, the clipboard. Optional: without it everything still works.

const FRAMES_TO_WAIT = 120;

function setIfNew(node, name, value) {
  if (node && node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function nameControls(root) {
  for (const slider of root.querySelectorAll(".widget-slider")) {
    const name = slider.querySelector(".widget-label")?.textContent || "";
    setIfNew(slider.querySelector(".noUi-handle"), "aria-label", name);
    const text = slider.querySelector(".widget-readout");
    setIfNew(slider.querySelector(".noUi-handle"), "aria-valuetext", text?.textContent || "");
    setIfNew(text, "aria-label", `${name}, as a number`);
    if (text?.isContentEditable) setIfNew(text, "role", "textbox");
  }
  for (const group of root.querySelectorAll(".widget-toggle-buttons")) {
    const label = group.querySelector(".widget-label");
    if (!label) continue;
    setIfNew(group, "role", "group");
    setIfNew(group, "aria-label", label.textContent);
    for (const button of group.querySelectorAll("button")) {
      setIfNew(button, "aria-pressed", String(button.classList.contains("mod-active")));
    }
  }
  for (const icon of root.querySelectorAll("button > i")) setIfNew(icon, "aria-hidden", "true");
  for (const fold of root.querySelectorAll("button.imagen-fold")) {
    setIfNew(fold, "aria-expanded", String(fold.classList.contains("mod-active")));
  }
}

// The values as they stand in this page: state messages may still wait behind a busy kernel,
// and what is paid for has to be what is seen.
async function seenValues(model) {
  document.activeElement?.dispatchEvent(new Event("change", { bubbles: true }));
  const values = {};
  for (const [field, [id, trait]] of Object.entries(model.get("form"))) {
    const control = await model.widget_manager.get_model(id);
    values[field] = control.get(trait);
  }
  return values;
}

function download(name, type, bytes) {
  const address = URL.createObjectURL(new Blob([bytes], { type }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function copy(button) {
  const text = button.parentElement.nextElementSibling.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.parentElement.nextElementSibling);
    button.textContent = "Press Ctrl+C";
  }
}

// Left and right arrow go through the pictures of a row while one of them is open.
function turnPage(root, event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const open = step && root.querySelector(".imagen-lightbox:popover-open");
  if (!open) return;
  event.preventDefault();
  event.stopPropagation(); // the notebook would select another cell
  const all = [...open.closest(".imagen-grid").querySelectorAll(".imagen-lightbox")];
  const next = all[all.indexOf(open) + step];
  if (!next) return;
  open.hidePopover();
  next.showPopover();
}

function attach(root, model) {
  const ending = new AbortController();
  const { signal } = ending;
  root.classList.add("imagen-live");
  root.dataset.lmSuppressShortcuts = "true"; // Notebook 7: Shift+Enter re-runs the cell otherwise
  const generate = async () => model.send({ kind: "generate", values: await seenValues(model) });
  const isGenerate = (event) => event.target.closest?.("button.imagen-generate");
  root.addEventListener(
    "click",
    (event) => {
      const copying = event.target.closest?.("[data-imagen-copy]");
      if (copying) copy(copying);
      if (!isGenerate(event)) return;
      event.stopImmediatePropagation();
      event.preventDefault();
      generate();
    },
    { capture: true, signal },
  );
  root.addEventListener(
    "keydown",
    (event) => {
      const inPrompt = event.target.closest?.(".imagen-create");
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && inPrompt) {
        event.preventDefault();
        event.stopPropagation();
        root.querySelector("button.imagen-generate:not(:disabled)")?.click();
      }
    },
    { capture: true, signal },
  );
  window.addEventListener("keydown", (event) => turnPage(root, event), { capture: true, signal });
  let due = 0;
  const name = () => {
    due = 0;
    nameControls(root);
  };
  const watcher = new MutationObserver(() => {
    due ||= requestAnimationFrame(name);
  });
  watcher.observe(root, { subtree: true, childList: true, attributeFilter: ["class"] });
  name();
  return () => {
    ending.abort();
    watcher.disconnect();
    cancelAnimationFrame(due);
  };
}

function initialize({ model }) {
  model.on("msg:custom", (message, buffers) => {
    if (message.kind === "download") download(message.name, message.type, buffers[0]);
  });
}

function render({ model, el }) {
  const region = document.createElement("div");
  region.setAttribute("role", "status");
  region.className = "imagen-unseen";
  el.append(region);
  const announce = () => {
    region.textContent = model.get("announcement");
  };
  model.on("change:announcement", announce);
  let detach = () => {};
  let frames = 0;
  let waiting = 0;
  const find = () => {
    const root = el.closest(".imagen");
    if (root) {
      detach = attach(root, model);
      model.send({ kind: "ready" });
    } else if (frames++ < FRAMES_TO_WAIT) {
      waiting = requestAnimationFrame(find);
    }
  };
  find();
  return () => {
    cancelAnimationFrame(waiting);
    model.off("change:announcement", announce);
    detach();
  };
}

export default { initialize, render };
