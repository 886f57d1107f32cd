"""The served page: viser's sliders and scene around one jitted `mano_jax.forward`. Imports viser."""

import dataclasses
import functools
import socket
import threading

import jax
import numpy as np
import viser
from viser import transforms

from mano_jax.contact import contact_spheres
from mano_jax.forward import forward
from mano_jax.model import HandModel
from mano_jax.open_hand_model import open_hand_uv
from mano_jax.pose_sampling import sample_poses
from mano_jax.surface import PART_NAMES
from mano_jax.viewer.appearance import PART_COLOURS, PLAIN_COLOUR, atlas_of, skin_jpeg
from mano_jax.viewer.page import SIDES_SHOWN
from mano_jax.viewer.scene import PosedHand, axis_segments, bone_segments, surface_of, textured_glb
from mano_jax.viewer.sliders import HandParameters, Sliders, named_angles

SERVED_TEXTURE_SIZE = 512
REST_SECONDS = 0.25
"""A skin is put on when the sliders have rested for so long: the browser reads it anew for each mesh."""
_UP_RIGHT = {
    "right": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "left": np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
}
"""Rotations that put a hand's fingers up (+y) and its palm to the viewer (+z)."""
_TRANSPARENT = 0.4
_BESIDE = 0.08
_LAST = 1e9


@dataclasses.dataclass
class _Nodes:
    """What the scene has of one hand."""

    root: viser.FrameHandle
    plain: viser.MeshHandle
    parts: list[viser.MeshHandle]
    wire: viser.MeshHandle
    skeleton: viser.LineSegmentsHandle
    frames: viser.LineSegmentsHandle
    skin: viser.GlbHandle | None = None


class Viewer:
    """A running page. `handles[k].value = x` does what a user does who moves slider k of `sliders.table`."""

    def __init__(
        self, model: HandModel, side: str, host: str = "127.0.0.1", port: int = 8080, skin: str | None = "medium"
    ):
        """Start the server.

        Raises:
          ValueError: an unknown side, or Pillow is missing and a skin is wanted.
          OSError: the port is taken or the host is not this machine's.
        """
        if side not in SIDES_SHOWN:
            raise ValueError(f"side must be one of {', '.join(SIDES_SHOWN)}, got {side!r}")
        self.sliders = Sliders(model)
        self.parameters: HandParameters = self.sliders.start
        self._forward = jax.jit(forward)
        self._spheres, self._sample, self._samples = None, jax.jit(sample_poses, static_argnums=2), 0
        self._surface = surface_of(model)
        self._skin = skin_jpeg(skin, SERVED_TEXTURE_SIZE) if skin is not None and atlas_of(model) is not None else None
        self._lock, self._writing, self._rest = threading.RLock(), False, None
        _check_free(host, port)
        self.server = viser.ViserServer(host=host, port=port, label="Hand viewer", verbose=False)
        self._set_up_view()
        self._add_looks(side)
        self._add_pose_buttons()
        self.handles = self._add_sliders()
        self._nodes = {one: self._add_nodes(one) for one in ("left", "right")}
        self.refresh()

    @property
    def url(self) -> str:
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def stop(self) -> None:
        """Shut the server down; its port is free afterwards."""
        with self._lock:
            if self._rest is not None:
                self._rest.cancel()
        self.server.stop()

    def posed(self, side: str) -> PosedHand:
        """The hand of one side as it is shown, in its own model's frame."""
        model, parameters = self.sliders.model, self.parameters
        numbers = (parameters.pose, parameters.shape, parameters.rotation, np.zeros(3))
        mesh = self._forward(model, *(np.asarray(array, np.float32) for array in numbers))
        vertices, joints, rotations = (np.asarray(array, np.float64) for array in mesh)
        hand = PosedHand(vertices, joints, np.einsum("jcb,jab->jac", rotations, self.sliders.axes))
        return hand if side == model.side else hand.mirrored()

    def set_parameters(self, parameters: HandParameters) -> None:
        """Show a hand; every slider follows."""
        with self._lock:
            self.parameters = parameters
            self.refresh()

    def refresh(self, moved: int | None = None) -> None:
        """Bring the sliders, but for the one that is being moved, and the scene up to date."""
        with self._lock, self.server.atomic():
            self._writing = True  # What is set here must not be taken for a user's move.
            try:
                values = self.sliders.values(self.parameters)
                for number, (slider, handle) in enumerate(zip(self.sliders.table, self.handles, strict=True)):
                    if number != moved:
                        handle.value = slider.shown(float(values[number]))
            finally:
                self._writing = False
            for side in ("left", "right"):
                self._draw(side)
            self._dress_later()

    # ---- controls

    def _set_up_view(self) -> None:
        scene, camera = self.server.scene, self.server.initial_camera
        scene.set_up_direction("+y")
        camera.position, camera.look_at, camera.fov = (-0.12, 0.06, 0.5), (0.0, 0.0, 0.0), 0.6
        self.server.gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        self.server.gui.main_panel.dock_right()

    def _add_looks(self, side: str) -> None:
        gui, surfaces = self.server.gui, ("skin", "plain", "parts") if self._skin else ("plain", "parts")
        self.side = gui.add_dropdown("side", SIDES_SHOWN, initial_value=side)
        self.look = gui.add_dropdown("surface", surfaces, initial_value=surfaces[0])
        self.skeleton = gui.add_checkbox("skeleton", False)
        self.frames = gui.add_checkbox("joint axes", False)
        self.wireframe = gui.add_checkbox("wireframe", False)
        for handle in (self.side, self.look, self.skeleton, self.frames, self.wireframe):
            handle.on_update(lambda _: self.refresh())

    def _add_pose_buttons(self) -> None:
        gui = self.server.gui
        angles = named_angles()
        self.poses = gui.add_button_group("pose", ("random", "flat", "mean", *angles))
        self.poses.on_click(lambda event: self.choose_pose(event.target.value))
        gui.add_button("reset all").on_click(lambda _: self.set_parameters(self.sliders.start))

    def choose_pose(self, name: str) -> None:
        """Show the pose of a button: "random", "flat", "mean", or one of `named_angles()`."""
        match name:
            case "random":
                pose = self._random_pose()
            case "flat":
                pose = np.zeros(45)
            case "mean":
                pose = self.sliders.mean
            case _:
                pose = self.sliders.pose_of(named_angles()[name])
        with self._lock:
            shape, rotation = self.parameters.shape, self.parameters.rotation
            self.set_parameters(HandParameters(pose, shape, rotation))

    def _random_pose(self) -> np.ndarray:
        model = self.sliders.model
        with self._lock:
            self._spheres = contact_spheres(model) if self._spheres is None else self._spheres
            self._samples += 1
            key, shape = jax.random.key(self._samples), np.asarray(self.parameters.shape, np.float32)
        return np.asarray(self._sample(model, key, 1, shape, 1.0, self._spheres)[0], np.float64)

    def _add_sliders(self) -> list[viser.GuiSliderHandle[float]]:
        gui, handles, folders = self.server.gui, [], {}
        values = self.sliders.values(self.parameters)
        for number, slider in enumerate(self.sliders.table):
            if slider.folder not in folders:
                folders[slider.folder] = gui.add_folder(slider.folder, expand_by_default=slider.folder == "index")
            more = (slider.folder, "more")
            if not slider.main and more not in folders:
                with folders[slider.folder]:
                    folders[more] = gui.add_folder("more", expand_by_default=False, order=_LAST)
            with folders[slider.folder if slider.main else more]:
                label = slider.name.removeprefix(f"{slider.folder} ")
                label = f"{label} °" if slider.kind == "angle" else label
                handle = gui.add_slider(
                    label, slider.low, slider.high, slider.step, slider.shown(float(values[number])), hint=slider.name
                )
            handle.on_update(functools.partial(self._moved, number))
            handles.append(handle)
        return handles

    def _moved(self, number: int, _: object) -> None:
        with self._lock:
            if not self._writing:
                self.parameters = self.sliders.moved(self.parameters, number, float(self.handles[number].value))
                self.refresh(moved=number)

    # ---- scene

    def _add_nodes(self, side: str) -> _Nodes:
        scene, hand, root = self.server.scene, self.posed(side), f"/{side}"
        points, surface = hand.vertices[self._surface.sources], self._surface
        wxyz = transforms.SO3.from_matrix(_UP_RIGHT[side]).wxyz
        bones, axes = bone_segments(hand.keypoints(self.sliders.model.fingertips())), axis_segments(hand)
        return _Nodes(
            root=scene.add_frame(root, show_axes=False, wxyz=wxyz),
            plain=scene.add_mesh_simple(f"{root}/plain", points, self._turned(side, surface.faces), color=PLAIN_COLOUR),
            parts=[
                scene.add_mesh_simple(f"{root}/{name}", points, self._turned(side, faces), color=PART_COLOURS[name])
                for name, faces in zip(PART_NAMES, surface.parts, strict=True)
                if len(faces)
            ],
            wire=scene.add_mesh_simple(
                f"{root}/wire", points, self._turned(side, surface.faces), color=(40, 34, 30), wireframe=True
            ),
            skeleton=scene.add_line_segments(f"{root}/skeleton", *bones, thickness=0.0022),
            frames=scene.add_line_segments(f"{root}/frames", *axes, thickness=0.0016),
        )

    def _turned(self, side: str, faces: np.ndarray) -> np.ndarray:
        """Triangles of the embedded model as those of `side`: its mirror image has them the other way round."""
        return faces if side == self.sliders.model.side else faces[:, ::-1]

    def _draw(self, side: str) -> None:
        nodes, model = self._nodes[side], self.sliders.model
        nodes.root.visible = side in self._sides()
        if not nodes.root.visible:
            return
        hand = self.posed(side)
        rest = np.asarray(model.template, np.float64)
        middle = (rest.min(0) + rest.max(0)) / 2
        if side != model.side:
            middle[0] *= -1.0
        place = -_UP_RIGHT[side] @ middle
        if self.side.value == "both":
            place[0] += _BESIDE if side == "right" else -_BESIDE
        nodes.root.position = place

        points = hand.vertices[self._surface.sources].astype(np.float32)
        in_parts = self.look.value == "parts"
        for node in (nodes.plain, *nodes.parts):
            node.vertices = points
            node.opacity = _TRANSPARENT if self._sees_through() else None
            node.visible = in_parts != (node is nodes.plain)
        nodes.wire.vertices, nodes.wire.visible = points, self.wireframe.value
        nodes.skeleton.points = bone_segments(hand.keypoints(model.fingertips()))[0].astype(np.float32)
        nodes.skeleton.visible = self.skeleton.value
        nodes.frames.points = axis_segments(hand)[0].astype(np.float32)
        nodes.frames.visible = self.frames.value
        if nodes.skin is not None:
            nodes.skin.visible = False

    def _sides(self) -> tuple[str, ...]:
        return ("left", "right") if self.side.value == "both" else (self.side.value,)

    def _sees_through(self) -> bool:
        return self.skeleton.value or self.frames.value

    def _dress_later(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._rest = None
        if self.look.value == "skin":
            self._rest = threading.Timer(REST_SECONDS, self._dress)
            self._rest.daemon = True
            self._rest.start()

    def _dress(self) -> None:
        """Put the skin on the hands as they are now."""
        with self._lock, self.server.atomic():
            if self.look.value != "skin" or self._skin is None or self._rest is None:
                return
            for side in self._sides():
                faces = self._turned(side, np.asarray(self.sliders.model.faces))
                opacity = _TRANSPARENT if self._sees_through() else 1.0
                glb = textured_glb(self.posed(side).vertices, faces, open_hand_uv(side), self._skin, opacity)
                nodes = self._nodes[side]
                if nodes.skin is None:
                    nodes.skin = self.server.scene.add_glb(f"/{side}/skin", glb)
                else:
                    nodes.skin.glb_data = glb
                nodes.skin.visible, nodes.plain.visible = True, False


def _check_free(host: str, port: int) -> None:
    """viser takes the next free port; whoever asked for one wants that one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OSError(f"cannot serve at {host}:{port} ({reason}); choose another --port or --host") from None
