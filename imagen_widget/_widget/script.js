// What stock controls cannot do: one layer a form; clicks go to the kernel as `do`.

const CHUNK_BYTES = 2_000_000; // a websocket message is bounded
const LONG_JOB_SECONDS = 20;
const used = {}; // by form, the view that was used last: answers are for it
const ENDPOINT = /^[\w.-]+(\/[\w.-]+){1,6}$/;

// h("b.struck"): its class is imagen-struck; attributes that are functions listen.
function h(what, attributes = {}, ...children) {
	const [tag, ...classes] = what.split(".");
	const node = document.createElement(tag);
	node.classList.add(...classes.map((name) => `imagen-${name}`));
	for (const [name, value] of Object.entries(attributes)) {
		if (typeof value === "function") node.addEventListener(name, value);
		else if (value != null) node.setAttribute(name, value);
	}
	node.append(...children);
	return node;
}

const button = (text, click, more = {}, what = "button") => h(what, { type: "button", click, ...more }, text);
const named = (name) => ({ "aria-label": name, title: name });
const png = (canvas) => new Promise((made) => canvas.toBlob(made));
const address = (data, type) => URL.createObjectURL(new Blob([data], { type }));

const $ = (node, selector) => node.querySelector(selector);
const $$ = (node, selector) => [...node.querySelectorAll(selector)];
const isShown = (node) => node.checkVisibility();
const see = (node) => node?.scrollIntoView({ block: "nearest" });

const commit = (node) => node.dispatchEvent(new Event("change", { bubbles: true }));
const act = (model, name, more) => model.send({ kind: "do", act: name, ...more });

const set = (node, name, value) => node?.setAttribute(name, value);

// ---- names for screen readers

function nameControls(root) {
	const each = (selector, does) => $$(root, selector).forEach(does);
	const label = (node) => $(node, ".widget-label")?.textContent || "";
	each(".widget-slider", (slider) => {
		const text = $(slider, ".widget-readout");
		const handle = $(slider, ".noUi-handle");
		set(handle, "aria-label", label(slider));
		set(handle, "aria-valuetext", text?.textContent || "");
		set(text, "aria-label", `${label(slider)}, as a number`);
		if (text?.isContentEditable) set(text, "role", "textbox");
	});
	each(".widget-toggle-buttons", (group) => {
		set(group, "role", "group");
		set(group, "aria-label", label(group));
	});
	each(".widget-toggle-buttons button", (one) => set(one, "aria-pressed", one.matches(".mod-active")));
	each(".noUi-handle, .widget-toggle-buttons button", (one) => (one.title = one.matches(".imagen-left :is(.noUi-handle, .mod-active)") ? "the model's default" : ""));
	each("button > i", (icon) => set(icon, "aria-hidden", true));
	each("button.imagen-fold", (fold) => set(fold, "aria-expanded", fold.matches(".mod-active")));
	each(".imagen-f", (field) => {
		const old = $(field, ":scope > .imagen-reset");
		if (!field.matches(".imagen-given")) old?.remove();
		else if (!old) {
			const style = `left:${$(field, ".widget-label")?.offsetWidth + 4}px`;
			field.append(button("×", null, { style, "data-do": "reset", "data-arg": fieldOf(field), ...named(`${label(field)}: leave it to the model`) }, "button.reset"));
		}
	});
}

const fieldOf = (node) => node.closest(".imagen-f")?.className.match(/imagen-n-(\S+)/)?.[1];

// ---- files and the clipboard

function download({ name, type }, bytes) {
	const href = address(bytes, type);
	h("a", { href, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

let sent; // Generate waits for files that are read
const upload = (...given) => (sent = Promise.allSettled([sent, send(...given)]));

async function send(model, purpose, given) {
	const files = await given;
	for (const file of files) {
		const key = String(Math.random());
		const parts = Math.ceil(file.size / CHUNK_BYTES) || 1;
		for (let part = 0; part < parts; part++) {
			const piece = await file.slice(part * CHUNK_BYTES, (part + 1) * CHUNK_BYTES).arrayBuffer();
			model.send({ kind: "file", purpose, name: file.name, key, parts, more: file !== files[0] }, undefined, [piece]);
		}
	}
}

async function copied(trigger, work) {
	trigger.textContent = await work().then(() => "Copied", () => "Not allowed here");
	setTimeout(() => (trigger.textContent = "Copy"), 2000);
}

function copyCode(trigger) {
	const code = trigger.parentElement.nextElementSibling;
	getSelection().selectAllChildren(code); // for Ctrl+C
	copied(trigger, async () => navigator.clipboard.writeText(code.textContent));
}

async function copyPicture(image) {
	const canvas = h("canvas", { width: image.naturalWidth, height: image.naturalHeight });
	canvas.getContext("2d").drawImage(image, 0, 0);
	await navigator.clipboard.write([new ClipboardItem({ "image/png": await png(canvas) })]);
}

// ---- the chooser of models

function chooser(root, model, signal) {
	const input = $(root, ".imagen-f-model input");
	if (!input || $(root, ".imagen-pick")) return;
	const id = `pick-${model.get("token")}`;
	const search = h("input", {
		type: "text", role: "combobox", "aria-expanded": true, "aria-controls": id,
		"aria-label": "Search models", placeholder: "name, or owner/model of any endpoint", input: fill,
		keydown: (e) => {
			const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
			if (step) move(at + step);
			else if (e.key === "Enter") options()[at]?.click();
			else return;
			e.preventDefault();
			e.stopPropagation();
			seeChosen();
		},
	});
	const chips = h("div.tags", { role: "group", "aria-label": "Filters" });
	const list = h("div.options", { id, role: "listbox", "aria-label": "Models" });
	const foot = h("div.pick-foot");
	const box = h("div.picker", {
		popover: "auto",
		toggle: () => set(face, "aria-expanded", isOpen()),
		change: (e) => e.stopPropagation(), // a search is no choice
		click: () => search.focus(),
	}, search, chips, list, foot);
	const isOpen = () => box.matches(":popover-open");
	const face = button("", () => (isOpen() ? box.hidePopover() : open()), { "aria-haspopup": "listbox" }, "button.pick");
	input.after(face, box);
	const wanted = new Set();
	let at = 0;

	const rows = () => model.get("chooser").models;
	const options = () => $$(list, "[role=option]");
	const title = (row) => h(row.status ? "b.struck" : "b", {}, row.name);

	function show() {
		const key = model.get("chosen");
		const row = rows().find((one) => one.id === key) ?? { name: key, price: "", unit: "" };
		face.replaceChildren(title(row), " ", h("span", {}, `${row.price} ${row.unit}`));
		set(face, "aria-label", `Model: ${face.textContent}`);
	}

	function choose(key) {
		box.hidePopover(); // gives the focus back
		model.set("chosen", key);
		act(model, "choose", { arg: key });
		setTimeout(() => see($(root, ".imagen-pick:focus")), 300);
	}

	function option(key, ...children) {
		const number = list.children.length;
		list.append(h("div.option", {
			role: "option", id: `${id}-${number}`, "aria-selected": key === model.get("chosen"),
			click: () => choose(key), pointermove: () => move(number),
		}, ...children));
	}

	// Two letters side by side may be wrong, missing or too many.
	function isLike(word, text) {
		const slips = [...word].map((_, i) => `${word.slice(0, i)}.{0,3}${word.slice(i + 2)}`);
		return word.length > 3 && RegExp(slips.join("|")).test(text);
	}

	function fill() {
		const typed = search.value.trim();
		const words = typed.toLowerCase().split(/[^\w.-]+/);
		const find = (like) => rows().filter(({ text, tags }) =>
			words.every((word) => text.includes(word) || like?.(word, text)) && [...wanted].every((tag) => tags.includes(tag)));
		const exact = find();
		const found = exact[0] || ENDPOINT.test(typed) ? exact : find(isLike);
		list.replaceChildren();
		for (const row of found) {
			const tags = row.tags.filter((tag) => !tag.startsWith("under")).map((tag) => h("small", {}, tag));
			if (row.status) tags.unshift(h("small.retired", {}, row.status));
			const first = h("div", {}, title(row), ...tags);
			const second = row.status ? h("span", {}, row.note) : h("code", {}, row.id);
			option(row.id, h("div", {}, first, second), h("div.cost", {}, h("b", {}, row.price), h("span", {}, row.unit)));
			if (row.successor) option(row.successor.id, h("div.instead", {}, `Use ${row.successor.name} instead`));
		}
		if (ENDPOINT.test(typed) && !exact.some((row) => row.id === typed)) {
			option(typed, h("div", {}, h("b", {}, `Use ${typed}`), h("span", {}, "its fields are read when chosen")));
		}
		const hint = exact[0] ? "↑ ↓ move · Enter choose" : found[0] ? "Did you mean one of these?" : "None like that; any owner/model works";
		foot.textContent = `${hint} · ${found.length} of ${model.get("chooser").total}`;
		move(options().findIndex((one) => one.ariaSelected === "true"));
	}

	function move(to) {
		const all = options();
		at = Math.min(Math.max(0, to), all.length - 1);
		all.forEach((one, i) => one.classList.toggle("imagen-at", i === at));
		set(search, "aria-activedescendant", all[at]?.id ?? "");
	}

	function place() {
		const { left, width, bottom } = face.getBoundingClientRect();
		const within = (wanted, end) => `${Math.max(8, Math.min(wanted, end - 8))}px`;
		box.style.width = `${width}px`;
		box.style.left = within(left, innerWidth - box.offsetWidth);
		box.style.top = within(bottom + 6, innerHeight - box.offsetHeight);
	}

	const seeChosen = () => see($(list, ".imagen-at"));

	function open() {
		chips.replaceChildren(...model.get("chooser").tags.map((tag) => button(tag, (e) => {
			wanted.delete(tag) || wanted.add(tag);
			set(e.target, "aria-pressed", wanted.has(tag));
			fill();
		}, { "aria-pressed": wanted.has(tag) })));
		search.value = "";
		box.showPopover();
		fill();
		place();
		search.focus();
		seeChosen();
	}

	addEventListener("scroll", () => isOpen() && place(), { capture: true, signal });
	model.on("change:chosen change:chooser", show);
	show();
}

// ---- pictures large

function largeView(root, model) {
	let shown = []; // { id, index, image, width, height }
	let zoom; // { scale, x, y }; none: fitted
	const stage = h("div.stage", {
		wheel: (e) => {
			e.preventDefault();
			const { left, top, width, height } = stage.getBoundingClientRect();
			scale(e.deltaY < 0 ? 1.15 : 0.87, e.x - left - width / 2, e.y - top - height / 2);
		},
		pointermove: ({ buttons, movementX, movementY }) => {
			if (!buttons) return;
			const from = zoom ?? draw();
			zoom = { ...from, x: from.x + movementX, y: from.y + movementY };
			draw();
		},
	});
	const words = h("div.words");
	const percent = h("output");
	const split = h("input.split", { type: "range", value: 50, "aria-label": "From A to B", input: () => draw() });
	const send = (name, { id, index } = shown[0]) => act(model, name, { id, index });
	const keys = { "+": () => scale(1.25), "-": () => scale(0.8), f: fit, ArrowLeft: () => turn(-1), ArrowRight: () => turn(1) };
	const back = button("", keys.ArrowLeft, named("Previous"), "button.turn");
	const next = button("", keys.ArrowRight, named("Next"), "button.turn.next");
	const bar = h("div.view-bar", {}, words,
		button("Save", () => send("save"), {}, "button.single"),
		button("Copy", (e) => copied(e.currentTarget, () => copyPicture(shown[0].image)), {}, "button.single"),
		button("Smaller", keys["-"]), percent, button("Larger", keys["+"]),
		button("Fit", fit), button("Close", () => dialog.close()),
	);
	const dialog = h("dialog.view", {
		tabindex: -1, close: clear,
		keydown: (e) => {
			if (e.target === split || !keys[e.key] || e.ctrlKey || e.metaKey) return;
			e.preventDefault();
			keys[e.key]();
		},
	}, back, stage, split, next, bar);
	root.append(dialog);

	function draw() {
		const [first] = shown;
		const fitted = Math.min(stage.clientWidth / first.width, stage.clientHeight / first.height, 1) || 1;
		const whole = { scale: fitted, x: 0, y: 0 };
		const { scale: factor, x, y } = zoom ?? whole;
		for (const { image } of shown) {
			const transform = `translate(-50%, -50%) translate(${x}px, ${y}px) scale(${factor})`;
			Object.assign(image.style, { width: `${first.width}px`, height: `${first.height}px`, transform });
		}
		stage.style.setProperty("--at", `${split.value}%`);
		percent.textContent = `${Math.round(factor * 100)} %`;
		return whole;
	}

	function fit() {
		zoom = null;
		draw();
	}

	function scale(by, px = 0, py = 0) {
		const fitted = draw();
		const from = zoom ?? fitted;
		const to = Math.min(Math.max(from.scale * by, fitted.scale / 4), 8);
		const grown = to / from.scale;
		zoom = { scale: to, x: px - (px - from.x) * grown, y: py - (py - from.y) * grown };
		draw();
	}

	function clear() {
		for (const { image } of shown) URL.revokeObjectURL(image.src);
		shown = [];
		stage.replaceChildren();
	}

	function open(pictures, text) {
		clear();
		const two = pictures.length > 1;
		shown = pictures.map((one) => ({ ...one, image: h("img", { alt: one.alt, src: one.src, draggable: false }) }));
		shown.forEach((one, place) => {
			stage.append(h(place ? "div.half.b" : "div.half", {}, one.image));
			send("original", one);
		});
		words.textContent = text;
		dialog.classList.toggle("imagen-two", two);
		set(dialog, "aria-label", two ? "Compare two pictures" : text);
		if (!dialog.open) dialog.showModal();
		dialog.focus();
		fit();
	}

	function beside(by) {
		const all = $$(root, ".imagen-open[data-id]").filter(isShown);
		return all[by + all.findIndex(({ dataset: { id, index } }) => id === shown[0].id && index === shown[0].index)];
	}

	function large(node) {
		const { facts, ...more } = node.dataset;
		const { alt, src } = $(node, "img");
		open([{ ...more, alt, src }], facts);
		back.disabled = !beside(-1);
		next.disabled = !beside(1);
	}

	function turn(by) {
		const node = !shown[1] && beside(by);
		if (node) large(node);
	}

	function arrived({ id, index, type }, bytes) {
		for (const one of shown) if (one.id === id && +one.index === index) one.image.src = address(bytes, type);
	}

	return { large, arrived, open };
}

// ---- a mask, painted over the first picture

function maskEditor(place, model, { width, height, title }, [picture, old]) {
	const factor = Math.min(1, 1024 / Math.max(width, height));
	const [w, t] = [width, height].map((side) => Math.round(side * factor));
	const layer = (acts, more) => h("canvas", { width: w, height: t, ...acts }).getContext("2d", more);
	const pen = layer({}, { willReadFrequently: true });
	const view = layer({
		pointerdown: (e) => {
			screen.setPointerCapture(e.pointerId);
			remember();
			line(e);
		},
		pointermove: (e) => last && line(e),
		pointerup: () => {
			last = null;
			changed();
		},
	});
	const stripes = layer();
	const [mask, screen] = [pen.canvas, view.canvas];
	let erasing, full, last;
	let past = [];
	stripes.fillStyle = "#635bebc7";
	stripes.fillRect(0, 0, w, t);
	stripes.strokeStyle = "#cecaffe6";
	stripes.lineWidth = 3;
	for (let x = -t; x < w; x += 14) stripes.stroke(new Path2D(`M${x} ${t}L${x + t} 0`));

	function draw() {
		view.clearRect(0, 0, w, t);
		for (const x of [-3, 0, 3]) for (const y of [-3, 0, 3]) view.drawImage(mask, x, y);
		view.globalCompositeOperation = "destination-out"; // all but an edge
		view.drawImage(mask, 0, 0);
		const inside = copy();
		inside.globalCompositeOperation = "source-in";
		inside.drawImage(stripes.canvas, 0, 0);
		view.globalCompositeOperation = "source-over";
		view.drawImage(inside.canvas, 0, 0);
	}

	function changed() {
		draw();
		const { data } = pen.getImageData(0, 0, w, t);
		full = 0;
		for (let i = 3; i < data.length; i += 4) full += data[i] > 127;
		painted.textContent = `${Math.round((full / (w * t)) * 100)} % painted`;
	}

	function put(operation, source) {
		pen.globalCompositeOperation = operation;
		pen.fillStyle = "#fff";
		if (source) pen.drawImage(source, 0, 0, w, t);
		else pen.fillRect(0, 0, w, t);
		changed();
	}

	function copy() {
		const made = layer();
		made.drawImage(mask, 0, 0);
		return made;
	}

	const remember = () => (past = [...past.slice(-11), copy().canvas]);

	function line(e) {
		const ratio = w / screen.clientWidth;
		const to = [e.offsetX * ratio, e.offsetY * ratio];
		Object.assign(pen, { globalCompositeOperation: erasing ? "destination-out" : "source-over", strokeStyle: "#fff", lineCap: "round", lineWidth: size.value * ratio });
		pen.beginPath();
		pen.moveTo(...(last ?? to));
		pen.lineTo(...to);
		pen.stroke();
		last = to;
		draw();
	}

	function remove() {
		act(model, "unmask");
		place.replaceChildren();
	}

	function done() {
		if (!full) return remove();
		const out = h("canvas", { width, height });
		out.getContext("2d").drawImage(mask, 0, 0, width, height);
		upload(model, "mask", png(out).then(Array.of));
		place.replaceChildren();
	}

	function tool(eraser) {
		erasing = eraser;
		set(brush, "aria-pressed", !eraser);
		set(rubber, "aria-pressed", eraser);
	}

	const change = (operation) => () => {
		remember();
		put(operation);
	};
	const undo = () => past.length && put("copy", past.pop());
	const size = h("input", { type: "range", min: 4, max: 200, value: 58 });
	const keys = { b: () => tool(false), e: () => tool(true), "[": () => size.stepDown(8), "]": () => size.stepUp(8) };
	const brush = button("Brush", keys.b);
	const rubber = button("Eraser", keys.e);
	const painted = h("span", { role: "status" });
	place.replaceChildren(h("div.mask-editor", {
		role: "group", "aria-label": title, tabindex: -1,
		keydown: (e) => {
			const does = e.ctrlKey || e.metaKey ? e.key === "z" && undo : keys[e.key];
			if (!does) return;
			e.preventDefault();
			does();
		},
	},
	h("div.canvas", { style: `aspect-ratio:${w}/${t}` }, h("img", { alt: "", src: address(picture) }), screen),
	h("div", {}, h("b", {}, title), h("p", {}, "Paint what may change; the rest stays."),
		h("div.segments", {}, brush, rubber),
		h("label", {}, "Brush size", size),
		h("div", {}, button("Undo", undo), button("Invert", change("xor")), button("Clear", change("destination-out")), painted),
		h("p", {}, "B brush · E eraser · [ ] size · Ctrl+Z undo"),
		h("div", {}, button("Done", done, {}, "button.main"), button("Remove mask", remove)),
	)));
	tool(false);
	changed();
	if (old) h("img", { src: address(old), load: (e) => {
		put("source-over");
		put("destination-out", e.target); // opaque: what stays
	} });
}

// ---- the form as a whole

function tellEnd({ text, seconds }) {
	if (!document.hidden || seconds < LONG_JOB_SECONDS) return;
	const { title } = document;
	document.title = `✓ ${text}`;
	if (title[0] !== "✓") document.addEventListener("visibilitychange", () => (document.title = title), { once: true });
	if (window.Notification?.permission === "granted") new Notification("Imagen", { body: text });
}

function attach(root, model) {
	const ending = new AbortController();
	const { signal } = ending;
	const on = (type, does) => root.addEventListener(type, does, { capture: true, signal });
	const view = largeView(root, model);
	const token = model.get("token");
	let asked, focused, key, from, wanted;
	root.classList.add("imagen-live");
	root.tabIndex = -1; // clicks take the focus from the notebook's cell

	// What is paid for has to be what is seen, though the kernel may be behind.
	async function generate() {
		from = key;
		if (asked) window.Notification?.requestPermission();
		commit(document.activeElement);
		$(root, ".imagen-mask-editor .imagen-main")?.click();
		const values = {};
		for (const id of model.get("form")) {
			const control = await model.widget_manager.get_model(id);
			values[id] = control.get("index") ?? control.get("value");
		}
		await sent;
		model.send({ kind: "generate", values });
	}

	const here = {
		large: view.large,
		copy: copyCode,
		upload: ({ dataset: { arg } }) => {
			const change = (e) => upload(model, arg, e.target.files);
			h("input", { type: "file", accept: "image/*", multiple: arg === "picture" || null, change }).click();
		},
	};
	on("click", (e) => {
		const acts = e.target.closest("[data-do]");
		if (acts) {
			from = key;
			e.stopPropagation(); // or ToggleButtons takes it
			const { do: name, id, index, arg } = acts.dataset;
			here[name] ? here[name](acts) : act(model, name, { id, index: +(index ?? -1), arg });
		}
		const segment = e.target.closest(".imagen-left .mod-active");
		if (segment) act(model, "give", { arg: fieldOf(segment) });
		if (e.detail > 1 && e.target.closest(".imagen-cancel")) e.stopPropagation(); // it means another job
		if (!e.target.closest("button.imagen-generate")) return;
		e.stopPropagation();
		generate();
	});
	on("keydown", (e) => {
		const asks = (e.ctrlKey || e.metaKey) && e.target.closest(".imagen-create");
		if (e.key !== "Enter" || !(asks || (e.repeat && e.target.matches("button")))) return;
		e.preventDefault();
		e.stopPropagation();
		if (!e.repeat) generate(); // a held key pays once
	});

	let typing; // at a pause the text goes to the kernel
	on("input", ({ target }) => {
		clearTimeout(typing);
		if (target.matches(".imagen-f-prompt textarea, .imagen-wrong *")) typing = setTimeout(commit, 300, target);
	});

	// pictures dropped, pasted, moved
	const dragOver = (is) => $(root, ".imagen-strip")?.classList.toggle("imagen-over", is);
	let dragged;
	const takes = ({ dataTransfer }) => dragged || dataTransfer.types.includes("Files");
	on("dragstart", (e) => (dragged = e.target.closest?.(".imagen-in")?.dataset.index));
	on("dragend", () => (dragged = null));
	on("dragover", (e) => {
		if (!takes(e)) return;
		e.preventDefault();
		dragOver(true);
	});
	on("dragleave", () => dragOver(false));
	on("drop", (e) => {
		const onto = e.target.closest(".imagen-in")?.dataset.index;
		dragOver(false);
		if (!takes(e)) return;
		e.preventDefault();
		e.stopPropagation();
		if (!dragged) upload(model, "picture", e.dataTransfer.files);
		else if (onto) act(model, "move", { index: +dragged, arg: onto });
	});
	on("paste", (e) => {
		const { files, types } = e.clipboardData;
		if (!files.length || types.includes("text/rtf")) return; // a table's text comes with a picture of it
		e.preventDefault();
		upload(model, "picture", files);
	});

	// after each change of the page
	const keyOf = (node) => {
		const { do: name, id, index } = node.dataset;
		return [name, id, name === "move" || index, fieldOf(node), node.ariaLabel ?? node.textContent].join();
	};
	addEventListener("pointerdown", () => (focused = null), { capture: true, signal });
	on("focusin", ({ target }) => {
		used[token] = root;
		target.dataset.lmSuppressShortcuts = "true"; // keys typed here are not for the notebook
		focused = target;
		key = keyOf(target);
		wanted = "";
	});
	const more = new IntersectionObserver((seen) => seen.find((one) => one.isIntersecting)?.target.click());
	let due = 0;
	function look() {
		due = 0;
		nameControls(root);
		chooser(root, model, signal);
		const dead = root.matches(".jupyter-widgets-disconnected");
		for (const part of root.children) part.inert = dead && !part.matches(".imagen-restarted, dialog");
		more.disconnect();
		$$(root, ".imagen-older").forEach((older) => more.observe(older));
		if (focused && document.activeElement === document.body) { // its button was greyed or replaced
			const same = focused.isConnected ? focused : $$(root, "button").find((node) => keyOf(node) === key);
			same?.focus({ preventScroll: true });
		}
		const node = wanted && $$(root, wanted).find(isShown);
		if (node) {
			see(node);
			wanted = node.focus();
		}
	}
	const watcher = new MutationObserver(() => (due ||= requestAnimationFrame(look)));
	watcher.observe(root, { subtree: true, childList: true, attributeFilter: ["class", "disabled"] });

	const kinds = {
		original: view.arrived,
		compare: ({ pictures, text }, ...small) => focused?.matches("input, textarea") || view.open(pictures.map((one, i) => ({ ...one, src: address(small[i]) })), text),
		mask: (message, ...pictures) => maskEditor($(root, ".imagen-mask .widget-html-content"), model, message, pictures),
		focus: ({ to }) => {
			if (from !== key) return; // the user went on
			wanted = to;
			look();
		},
		ended: ({ seconds }) => (asked ||= seconds >= LONG_JOB_SECONDS),
	};
	const onMessage = (message, buffers) => (used[token] ?? root) === root && kinds[message.kind]?.(message, ...buffers);
	model.on("msg:custom", onMessage);
	look();
	return () => {
		ending.abort();
		watcher.disconnect();
		more.disconnect();
		model.off("msg:custom", onMessage);
		cancelAnimationFrame(due);
	};
}

function initialize({ model }) {
	model.on("msg:custom", (message, [bytes]) => ({ download, ended: tellEnd })[message.kind]?.(message, bytes));
}

function render({ model, el }) {
	const region = h("div.unseen", { role: "status" });
	el.append(region);
	const announce = () => (region.textContent = model.get("announcement"));
	model.on("change:announcement", announce);
	let detach;
	const find = (frames = 0) => {
		const root = el.closest(".imagen");
		if (root) detach = attach(root, model);
		else if (frames < 120) requestAnimationFrame(() => find(frames + 1));
	};
	find();
	return () => {
		model.off("change:announcement", announce);
		detach?.();
	};
}

export default { initialize, render };
