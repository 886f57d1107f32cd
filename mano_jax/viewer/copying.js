// Taking the numbers along: as Python, as JSON, in a link; and reading a link.

const rounded = (numbers) => numbers.map((value) => Number(value.toFixed(6)) + 0);

function exported() {
  return sidesShown().map((side) => {
    const parameters = parametersOf(side);
    for (const name of ["pose", "shape", "rotation"]) parameters[name] = rounded(parameters[name]);
    return parameters;
  });
}

function pythonText() {
  const lines = ["import jax.numpy as jnp", "import mano_jax", ""];
  for (const { side, pose, shape, rotation } of exported()) {
    const name = state.side === "both" ? `${side}_` : "";
    const load = settings.fileName === null ? `mano_jax.open_hand("${side}")` : side === settings.side
      ? `mano_jax.load(${JSON.stringify(settings.fileName)}, side="${side}")`
      : `mano_jax.mirror_model(mano_jax.load(${JSON.stringify(settings.fileName)}, side="${settings.side}"))`;
    lines.push(`${name}hand = ${load}`, `${name}pose = jnp.array([`);
    for (let i = 0; i < 45; i += 9) lines.push(`    ${pose.slice(i, i + 9).join(", ")},`);
    lines.push("])", `${name}shape = jnp.array([${shape.join(", ")}])`, `${name}rotation = jnp.array([${rotation.join(", ")}])`,
      `${name}mesh = mano_jax.forward(${name}hand, ${name}pose, ${name}shape, ${name}rotation, jnp.zeros(3))`);
  }
  return lines.join("\n") + "\n";
}

function jsonText() {
  const all = exported();
  return JSON.stringify(all.length === 1 ? all[0] : all);
}

function linkText() {
  const { pose, shape, rotation } = parametersOf(state.side === "both" ? "right" : state.side);
  const short = (numbers) => numbers.map((value) => Number(value.toFixed(4)) + 0).join(",");
  const shown = ["skeleton", "frames", "wireframe"].filter((name) => look[name]).join(",");
  const hash = `#side=${state.side}&pose=${short(pose)}&shape=${short(shape)}&rotation=${short(rotation)}&surface=${look.surface}`;
  return location.href.split("#")[0] + hash + (shown ? `&show=${shown}` : "");
}

async function copy(kind) {
  const text = { python: pythonText, json: jsonText, link: linkText }[kind]();
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages without https have no clipboard; selecting and copying works everywhere.
    const area = document.body.appendChild(node("textarea", { value: text, style: "position: fixed; opacity: 0" }));
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) return say("The browser does not let the page copy");
  }
  say("Copied");
}

// #side=both&pose=fist&shape=1,0,-2&rotation=0.1,0,0&surface=parts&show=skeleton,frames&view=back&theme=dark; the numbers
// are those of the hand shown, of the right one if both are.
function readLink() {
  const link = new URLSearchParams(location.hash.slice(1));
  const numbers = (name, count) => {
    const list = link.get(name)?.split(",").map(Number);
    if (!list) return undefined;
    if (list.every(Number.isFinite) && list.length <= count && (name === "shape" || list.length === count)) return list;
    say(`The link's ${name} was left out: expected ${count} numbers`);
  };
  if (["left", "right", "both"].includes(link.get("side"))) choose("side", link.get("side"));
  if (link.get("surface") in { plain: 0, parts: 0, ...(model.skin ? { skin: 0 } : {}) }) choose("surface", link.get("surface"));
  if (["light", "dark"].includes(link.get("theme"))) document.documentElement.dataset.theme = link.get("theme");
  if (link.has("show")) for (const name of ["skeleton", "frames", "wireframe"]) show(name, link.get("show").split(",").includes(name));
  const side = state.side === "both" ? "right" : state.side, named = settings.namedAngles[link.get("pose")];
  if (named) state.pose = namedPose(link.get("pose"));
  setParameters({ side, pose: named ? undefined : numbers("pose", 45), shape: numbers("shape", state.shape.length), rotation: numbers("rotation", 3) });
  if (link.get("view") in VIEWS) setView(link.get("view"));
  else if (link.size || !document.documentElement.dataset.ready) setView("slanted");
}
