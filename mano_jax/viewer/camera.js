// The camera by mouse, touch and keys.

function connectCamera() {
  const canvas = element("picture"), pointers = new Map();
  const orbit = (dx, dy) => {
    camera.yaw -= dx;
    camera.pitch = Math.min(Math.max(camera.pitch + dy, -1.55), 1.55);
  };
  const zoom = (factor) => (camera.distance = Math.min(Math.max(camera.distance * factor, 0.08), 2));
  const pan = (dx, dy) => {
    const { right, up } = makeCamera(camera, 1), scale = (camera.distance * 0.5) / Math.min(canvas.clientWidth, canvas.clientHeight);
    camera.target = camera.target.map((t, c) => t - scale * (dx * right[c] - dy * up[c]));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      zoom(apart(before) / apart([event.clientX, event.clientY]));
      pan(dx / 2, dy / 2);
    } else if (event.buttons & 2 || event.shiftKey) pan(dx, dy);
    else orbit(dx / 160, dy / 160);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    requestRedraw();
  });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY / 900)); requestRedraw(); }, { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => { camera.target = [0, 0, 0]; setView("slanted"); });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    const factor = { "+": 0.9, "=": 0.9, "-": 1 / 0.9 }[event.key];
    if (turns) orbit(...turns);
    if (factor) zoom(factor);
    if (!turns && !factor) return;
    event.preventDefault();
    requestRedraw();
  });
}
