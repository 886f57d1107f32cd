// The page: sliders, camera, links. State is the pose, shape and wrist rotation in the frame of the embedded model;
// the hand of the other side is its exact mirror image.

const settings = JSON.parse(document.getElementById("settings").textContent);
const element = (id) => document.getElementById(id);
const OTHER_THEME = { light: "dark", dark: "light" };
const VIEWS = { palm: [0, 0], back: [Math.PI, 0], thumb: [Math.PI / 2, 0], tips: [0, Math.PI / 2 - 0.02], slanted: [-0.3, 0.1] };
const APART = 1.22;  // How much further away the camera is from two hands than from one.
const AXIS_COLOURS = ["#e0483e", "#3fa34d", "#3b78d8"];
const KEYPOINT_PARENTS = [-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19];
const KEYPOINT_SOURCES = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20];
const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");

let model, renderer, middle, animation = 0, drawing = 0, messageTimer = 0;
const state = { pose: [], shape: [], rotation: [0, 0, 0], side: settings.shownSide };
const look = { surface: "plain", skeleton: false, frames: false, wireframe: false };
const camera = { yaw: -0.35, pitch: 0.12, distance: 0.5, target: [0, 0, 0] };
const rows = [];

// ---- parameters

function sliderValues() {
  const angles = anglesFromPose(model.axes, state.pose, state.rotation), coefficients = coefficientsFromPose(model, state.pose);
  return settings.sliders.map(({ kind, index }) =>
    kind === "shape" ? state.shape[index] : kind === "angle" ? (angles[index] * 180) / Math.PI : coefficients[index]);
}

// Only what the slider stands for changes, by the exact difference; what the others show is read back, never written.
function moveSlider(number, value) {
  const { kind, index } = settings.sliders[number], change = value - sliderValues()[number];
  if (kind === "shape") state.shape[index] = value;
  else if (kind === "coefficient") for (let p = 0; p < 45; p++) state.pose[p] += change * model.poseBasis[45 * index + p];
  else {
    const joint = Math.floor(index / 3), axis = index % 3;
    for (let c = 0; c < 3; c++) {
      const turned = ((change * Math.PI) / 180) * model.axes[9 * joint + 3 * axis + c];
      if (joint === 0) state.rotation[c] += turned;
      else state.pose[3 * joint - 3 + c] += turned;
    }
  }
  changed();
}

// Parameters of the hand of one side, in its own frame: what mano_jax.forward takes.
function parametersOf(side) {
  const own = side === settings.side;
  return {
    side,
    pose: own ? [...state.pose] : mirrorRotations(state.pose),
    shape: [...state.shape],
    rotation: own ? [...state.rotation] : mirrorRotations(state.rotation),
    translation: [0, 0, 0],
  };
}

function setParameters({ side, pose, shape, rotation }) {
  const own = side === settings.side;
  if (pose) state.pose = own ? [...pose] : mirrorRotations(pose);
  if (shape) state.shape = state.shape.map((_, k) => shape[k] ?? 0);
  if (rotation) state.rotation = own ? [...rotation] : mirrorRotations(rotation);
  changed();
}

const sidesShown = () => (state.side === "both" ? ["left", "right"] : [state.side]);

// The mesh of one side in its model's frame, metres: what mano_jax.forward returns for parametersOf(side).
function meshOf(side) {
  const mesh = evaluateHand(model, settings.parents, state.pose, state.shape, state.rotation);
  if (side === settings.side) return mesh;
  const signs = [1, -1, -1, -1, 1, 1, -1, 1, 1];
  return {
    vertices: mirrorPoints(mesh.vertices),
    joints: mirrorPoints(mesh.joints),
    rotations: mesh.rotations.map((matrix) => matrix.map((value, i) => value * signs[i])),
  };
}

// ---- picture

// From a hand's own frame to the picture's: fingers up, palm to the viewer; two hands beside each other.
function displayed(side) {
  const sign = side === "right" ? 1 : -1, beside = state.side === "both" ? 0.08 * sign : 0;
  const x0 = side === settings.side ? middle[0] : -middle[0];
  return (x, y, z) => [sign * (z - middle[2]) + beside, -sign * (x - x0), -(y - middle[1])];
}

// Half way between the ends of the resting hand along each axis of the embedded model.
function middleOf(points) {
  return [0, 1, 2].map((c) => {
    const along = points.filter((_, i) => i % 3 === c);
    return (Math.min(...along) + Math.max(...along)) / 2;
  });
}

function redraw() {
  drawing = 0;
  const aspect = fitCanvas(), hands = [], marks = [], view = makeCamera(camera, aspect);
  for (const side of sidesShown()) {
    const mesh = meshOf(side), show = displayed(side), points = new Float64Array(mesh.vertices.length);
    for (let i = 0; i < points.length; i += 3) points.set(show(mesh.vertices[i], mesh.vertices[i + 1], mesh.vertices[i + 2]), i);
    hands.push({ points, mirrored: side !== settings.side });
    if (look.skeleton) marks.push(...skeletonOf(mesh, show));
    if (look.frames) marks.push(...framesOf(side, mesh, show));
  }
  const surface = { skin: 0, plain: 1, parts: 2 }[look.surface];
  renderer?.draw(hands, view, { surface, wireframe: look.wireframe });
  const outline = getComputedStyle(document.documentElement).getPropertyValue("--outline");
  drawOverlay(element("overlay"), view, marks, outline);
}

const requestRedraw = () => (drawing ||= requestAnimationFrame(redraw));

function fitCanvas() {
  const { clientWidth, clientHeight } = element("stage"), ratio = Math.min(window.devicePixelRatio || 1, 2);
  for (const canvas of [element("picture"), element("overlay")]) {
    const [width, height] = [Math.max(1, Math.round(clientWidth * ratio)), Math.max(1, Math.round(clientHeight * ratio))];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  }
  return clientWidth / Math.max(clientHeight, 1);
}

function skeletonOf(mesh, show) {
  const at = (array, i) => show(array[3 * i], array[3 * i + 1], array[3 * i + 2]);
  const points = KEYPOINT_SOURCES.map((source) =>
    source < 16 ? at(mesh.joints, source) : at(mesh.vertices, settings.fingertips[source - 16]));
  return points.flatMap((point, i) => {
    const colour = `rgb(${settings.partColours[i ? Math.ceil(i / 4) : 0]})`;
    const dot = { at: point, colour, radius: 6 };
    return i ? [dot, { from: points[KEYPOINT_PARENTS[i]], to: point, colour, width: 4 }] : [dot];
  });
}

// Each joint's axes of flexion, abduction and twist, carried along by the joint.
function framesOf(side, mesh, show) {
  const axial = side === settings.side ? [1, 1, 1] : [1, -1, -1], marks = [];
  for (let joint = 0; joint < 16; joint++)
    for (let axis = 0; axis < 3; axis++) {
      const rest = [0, 1, 2].map((c) => axial[c] * model.axes[9 * joint + 3 * axis + c]);
      const now = turn(mesh.rotations[joint], ...rest), origin = [...mesh.joints.slice(3 * joint, 3 * joint + 3)];
      const end = origin.map((o, c) => o + 0.014 * now[c]);
      marks.push({ from: show(...origin), to: show(...end), colour: AXIS_COLOURS[axis], width: 3 });
    }
  return marks;
}

// ---- start

async function start() {
  const packed = Uint8Array.from(atob(element("data").textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  model = unpackArrays(await new Response(unpacked).arrayBuffer(), settings.arrays);
  middle = middleOf(model.template);
  state.pose = [...settings.startPose];
  state.shape = new Array(model.blendBasis.shape[0] - CORRECTIVES).fill(0);
  renderer = makeRenderer(element("picture"), model, settings.partColours, settings.plainColour);
  if (!renderer) say("This browser has no WebGL 2: skeleton only", true);
  buildPoses();
  buildSliders();
  connectControls();
  connectCamera();
  choose("surface", model.skin ? "skin" : "plain");
  if (!model.skin) document.querySelector('[data-value="skin"]').disabled = true;
  choose("side", state.side);
  if (!renderer) show("skeleton", true);
  readLink();
  window.addEventListener("hashchange", readLink);
  if (model.skin && renderer) renderer.setSkin(await createImageBitmap(new Blob([model.skin], { type: "image/jpeg" })));
  redraw();
  document.documentElement.dataset.ready = "true";
}

const ready = start().catch((error) => say(`The page cannot start: ${error.message}`, true));
