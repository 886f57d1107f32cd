// Sliders, buttons, keys: everything in the panel.

function changed() {
  const values = sliderValues();
  rows.forEach(({ range, number, row }, i) => {
    const { low, high, step } = settings.sliders[i];
    // Not what is being typed.
    if (document.activeElement !== number) number.value = shownNumber(settings.sliders[i], values[i]);
    range.value = values[i];
    row.classList.toggle("outside", values[i] < low - step / 2 || values[i] > high + step / 2);
  });
  requestRedraw();
}

const shownNumber = ({ step }, value) => value.toFixed(step < 0.1 ? 2 : 1).replace(/^-(0\.0+)$/, "$1");

function node(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function sliderRow(slider, number) {
  const angle = slider.kind === "angle", label = slider.name.startsWith(slider.folder + " ") ? slider.name.slice(slider.folder.length + 1) : slider.name;
  const shared = { min: slider.low, max: slider.high, step: slider.step };
  const range = node("input", { type: "range", id: `slider-${number}`, ...shared });
  const box = node("input", { type: "number", step: slider.step, inputMode: "decimal" });
  for (const control of [range, box]) control.setAttribute("aria-label", slider.name + (angle ? ", degrees" : ""));
  range.addEventListener("input", () => { stopAnimation(); moveSlider(number, range.valueAsNumber); });
  box.addEventListener("change", () => {
    stopAnimation();
    if (Number.isFinite(box.valueAsNumber)) moveSlider(number, Math.min(Math.max(box.valueAsNumber, slider.low), slider.high));
    box.value = shownNumber(slider, sliderValues()[number]);
  });
  const text = label[0].toUpperCase() + label.slice(1);
  const row = node("div", { className: angle ? "row" : "row wide" },
    node("label", { htmlFor: range.id, textContent: text, title: slider.name }), range,
    node("span", { className: "number" }, box, angle ? "°" : ""));
  rows[number] = { range, number: box, row };
  return row;
}

function buildSliders() {
  const folders = new Map();
  settings.sliders.forEach((slider, number) => {
    if (!folders.has(slider.folder)) folders.set(slider.folder, { main: [], more: [] });
    folders.get(slider.folder)[slider.main ? "main" : "more"].push(sliderRow(slider, number));
  });
  const parts = ["palm", "thumb", "index", "middle", "ring", "little"];
  for (const folder of ["thumb", "index", "middle", "ring", "little", "wrist", "shape", "pose coefficients"]) {
    const { main, more } = folders.get(folder) ?? { main: [], more: [] };
    if (!main.length && !more.length) continue;
    const summary = node("summary", {}, folder[0].toUpperCase() + folder.slice(1)), part = parts.indexOf(folder);
    if (part > 0) summary.prepend(Object.assign(node("i"), { style: `background: rgb(${settings.partColours[part]})` }));
    const details = node("details", { open: folder === "index" || folder === "shape" }, summary, node("div", { className: "rows" }, ...main));
    if (more.length) details.append(node("details", {}, node("summary", { textContent: `${more.length} more` }), node("div", { className: "rows" }, ...more)));
    element("sliders").append(details);
  }
}

function buildPoses() {
  const chip = (text, action, strong) => {
    const button = node("button", { textContent: text[0].toUpperCase() + text.slice(1), className: strong ? "strong" : "" });
    button.dataset.pose = text;
    button.addEventListener("click", action);
    element("poses").append(button);
  };
  if (model.randomPoses.length) chip("random", () => moveTo(randomPose()), true);
  chip("flat", () => moveTo(new Array(45).fill(0)));
  chip("mean", () => moveTo(Array.from(model.poseMean)));
  for (const name of Object.keys(settings.namedAngles)) if (name !== "open") chip(name, () => moveTo(namedPose(name)));
  chip("reset all", () => { camera.target = [0, 0, 0]; setView("slanted"); moveTo([...settings.startPose], true); });
}

const namedPose = (name) => poseFromAngles(model.axes, settings.namedAngles[name]);

function randomPose() {
  const which = Math.floor((Math.random() * model.randomPoses.length) / 45);
  return Array.from(model.randomPoses.subarray(45 * which, 45 * which + 45));
}

function stopAnimation() {
  cancelAnimationFrame(animation);
  animation = 0;
}

// Glides to a pose; with `everything` shape and wrist go back to zero too.
function moveTo(pose, everything = false) {
  stopAnimation();
  const from = { pose: state.pose, shape: state.shape, rotation: state.rotation }, start = performance.now();
  const mix = (a, b, t) => a.map((value, i) => value + t * (b[i] - value));
  const step = () => {
    const passed = reducedMotion.matches ? 1 : Math.min((performance.now() - start) / 380, 1), t = passed * passed * (3 - 2 * passed);
    // The last step lands exactly, whatever the rounding of those before.
    state.pose = passed === 1 ? [...pose] : mix(from.pose, pose, t);
    if (everything) {
      state.shape = mix(from.shape, from.shape.map(() => 0), t);
      state.rotation = mix(from.rotation, [0, 0, 0], t);
    }
    changed();
    animation = passed < 1 ? requestAnimationFrame(step) : 0;
  };
  step();
}

function setView(name) {
  [camera.yaw, camera.pitch] = VIEWS[name];
  // Mirrored for a left hand; two hands are seen straight.
  if (state.side === "left") camera.yaw *= -1;
  if (state.side === "both" && name === "slanted") camera.yaw = 0;
  camera.distance = 0.52 * (state.side === "both" ? APART : 1);
  requestRedraw();
}

function choose(choice, value) {
  if (choice === "surface") look.surface = value;
  else {
    const was = state.side;
    state.side = value;
    if ((was === "both") !== (value === "both")) camera.distance *= value === "both" ? APART : 1 / APART;
  }
  for (const button of document.querySelectorAll(`[data-choice="${choice}"] button`)) {
    button.setAttribute("aria-checked", button.dataset.value === value);
    button.tabIndex = button.dataset.value === value ? 0 : -1;
  }
  requestRedraw();
}

function show(name, on) {
  look[name] = on;
  document.querySelector(`[data-show="${name}"]`).checked = on;
  requestRedraw();
}

function say(text, stay = false) {
  clearTimeout(messageTimer);
  element("message").textContent = text;
  element("message").classList.add("shown");
  if (!stay) messageTimer = setTimeout(() => element("message").classList.remove("shown"), 1600);
}

function connectControls() {
  for (const group of document.querySelectorAll("[data-choice]")) {
    const buttons = [...group.children];
    for (const button of buttons) button.addEventListener("click", () => choose(group.dataset.choice, button.dataset.value));
    group.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], open = buttons.filter((b) => !b.disabled);
      if (!way) return;
      event.preventDefault();
      const next = open[(open.indexOf(document.activeElement) + way + open.length) % open.length];
      next.focus();
      next.click();
    });
  }
  for (const box of document.querySelectorAll("[data-show]")) box.addEventListener("change", () => show(box.dataset.show, box.checked));
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => setView(button.dataset.view));
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button.dataset.copy));
  element("theme").addEventListener("click", () => {
    const root = document.documentElement, system = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = OTHER_THEME[root.dataset.theme ?? system];
    requestRedraw();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches?.("input[type=number]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const press = { r: "random", f: "flat", m: "mean" }[event.key], toggle = { s: "skeleton", a: "frames", w: "wireframe" }[event.key];
    if (press) document.querySelector(`[data-pose="${press}"]`)?.click();
    if (toggle) show(toggle, !look[toggle]);
    const view = Object.keys(VIEWS)[Number(event.key) - 1];
    if (view) setView(view);
  });
  new ResizeObserver(requestRedraw).observe(element("stage"));
}
