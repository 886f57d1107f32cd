"""The viewer: sliders and parameters, the written page, the served page, the page's own hand function in Chromium."""

import dataclasses
import json
import re
import shutil
import socket
import subprocess
import urllib.request

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from mano_jax.viewer import HandParameters, Sliders, __main__, hand_page, write_hand_page
from mano_jax.viewer.sliders import named_angles

SIDES = ("right", "left")
_forward = jax.jit(mano_jax.forward)


@pytest.fixture(scope="module")
def sliders() -> dict[str, Sliders]:
    return {side: Sliders(mano_jax.open_hand(side)) for side in SIDES}


def made_up_parameters(seed: int, shapes: int = 10) -> HandParameters:
    random = np.random.default_rng(seed)
    return HandParameters(0.4 * random.normal(size=45), random.normal(size=shapes), random.normal(size=3))


def vertices_of(model: mano_jax.HandModel, parameters: HandParameters) -> np.ndarray:
    numbers = (parameters.pose, parameters.shape, parameters.rotation, np.zeros(3))
    return np.asarray(_forward(model, *(jnp.asarray(array, jnp.float32) for array in numbers)).vertices)


def number_of(sliders: Sliders, name: str) -> int:
    return [slider.name for slider in sliders.table].index(name)


# ---- sliders


@pytest.mark.parametrize("side", SIDES)
def test_each_slider_changes_its_own_number_alone(sliders, side):
    ours, parameters = sliders[side], made_up_parameters(1)
    before = ours.values(parameters)
    assert len(before) == 10 + 48 + 45
    for number, slider in enumerate(ours.table):
        wanted = 0.3 * slider.low + 0.7 * slider.high
        after = ours.values(ours.moved(parameters, number, wanted))
        assert after[number] == pytest.approx(wanted, abs=1e-5)
        for other, value in enumerate(after):
            if other != number and ours.table[other].kind == slider.kind:
                assert value == pytest.approx(before[other], abs=1e-4), (slider.name, ours.table[other].name)


@pytest.mark.parametrize("side", SIDES)
def test_values_are_those_of_anatomy_and_pose_space(sliders, side):
    ours, parameters = sliders[side], made_up_parameters(2)
    values, pose = ours.values(parameters), jnp.asarray(parameters.pose, jnp.float32)
    angles = np.degrees(mano_jax.joint_angles(ours.model, pose))
    coefficients = np.asarray(mano_jax.coefficients_from_pose(ours.model, pose))
    for slider, value in zip(ours.table, values, strict=True):
        joint, axis = divmod(slider.index, 3)
        if slider.kind == "angle" and joint:
            assert value == pytest.approx(angles[joint - 1, axis], abs=1e-3)
        if slider.kind == "coefficient":
            assert value == pytest.approx(coefficients[slider.index], abs=1e-4)


def test_pose_and_coefficients_are_two_views_of_one_pose(sliders):
    ours = sliders["right"]
    bent = ours.moved(ours.start, number_of(ours, "index MCP flexion"), 60.0)
    values = ours.values(bent)
    coefficients = values[[slider.kind == "coefficient" for slider in ours.table]]
    pose = mano_jax.pose_from_coefficients(ours.model, jnp.asarray(coefficients, jnp.float32))
    np.testing.assert_allclose(np.asarray(pose), bent.pose, atol=1e-5)


def test_index_flexion_bends_the_index_finger_towards_the_palm(sliders):
    for side in SIDES:
        ours = sliders[side]
        flat = HandParameters(np.zeros(45), np.zeros(10), np.zeros(3))
        moved = vertices_of(ours.model, ours.moved(flat, number_of(ours, "index MCP flexion"), 60.0))
        change = moved - vertices_of(ours.model, flat)
        tips = ours.model.fingertips()
        assert change[tips[1], 1] < -0.04  # the palm faces -y
        assert np.abs(change[list(tips[2:])]).max() < 0.002


@pytest.mark.parametrize(("name", "axis", "sign"), [("flexion", 1, -1.0), ("abduction", 2, 1.0)])
def test_wrist_angles_have_the_same_meaning_on_both_sides(sliders, name, axis, sign):
    for ours in sliders.values():
        flat = HandParameters(np.zeros(45), np.zeros(10), np.zeros(3))
        moved = vertices_of(ours.model, ours.moved(flat, number_of(ours, f"wrist {name}"), 30.0))
        assert sign * (moved - vertices_of(ours.model, flat))[ours.model.fingertips()[2], axis] > 0.05


def test_sliders_of_both_sides_read_a_hand_and_its_mirror_image_alike(sliders):
    parameters = made_up_parameters(3)
    right, left = sliders["right"].values(parameters), sliders["left"].values(parameters.mirrored())
    np.testing.assert_allclose(left, right, atol=1e-4)
    assert sliders["right"].table == sliders["left"].table


def test_ranges_are_the_joint_limits_and_names_are_unique(sliders):
    table, limits = sliders["right"].table, np.degrees(mano_jax.joint_limits())
    assert len({slider.name for slider in table}) == len(table)
    for slider in table:
        joint, axis = divmod(slider.index, 3)
        if slider.kind == "angle" and joint:
            low, high = limits[joint - 1, axis]
            assert low <= slider.low < low + 0.1 + 1e-9
            assert high - 0.1 - 1e-9 < slider.high <= high
    assert table[number_of(sliders["right"], "thumb CMC flexion")].index == 39
    assert {"hand length", "little DIP flexion", "pose component 44"} <= {slider.name for slider in table}


def test_a_slider_shows_what_lies_outside_at_its_end(sliders):
    slider = sliders["right"].table[number_of(sliders["right"], "index PIP flexion")]
    assert slider.shown(500.0) == slider.high
    assert slider.shown(-500.0) == slider.low
    assert slider.shown(12.34) == pytest.approx(12.3)


def test_named_poses_are_those_of_the_open_hand(sliders):
    from mano_jax.open_hand_model.poses import named_pose

    pose = sliders["right"].pose_of(named_angles()["thumbs up"])
    np.testing.assert_allclose(pose, named_pose("thumbs_up"), atol=1e-5)


def test_two_hands_at_once_have_no_sliders():
    both = mano_jax.two_hands(mano_jax.open_hand("left"), mano_jax.open_hand("right"))
    with pytest.raises(ValueError, match="one hand, left or right"):
        Sliders(both)


# ---- the written page


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """A page with a skin of the right hand, one without of a left hand of another model."""
    pose = jnp.stack([jnp.zeros(45), jnp.full(45, 0.1)])
    right = hand_page(mano_jax.open_hand("right"), random_poses=pose, skin_size=256)
    return {"right": right, "left": hand_page(mano_jax.open_hand("left"), "both", "<b>\"'.npz", skin=None)}


def test_page_is_self_contained_and_small(pages):
    for page in pages.values():
        assert len(page.encode()) < 3_000_000
        assert "://" not in re.sub(r'<script type="application/octet-stream".*?</script>', "", page, flags=re.DOTALL)
        assert not re.search(r"\bsrc=|@import|\bfetch\(|XMLHttpRequest|\bimport\(", page)
        assert re.findall(r'href="([^"]*)"', page) == ["data:,"]
        assert not re.search(r"@[A-Z]+@", page)
        assert page.count("</script>") == 3


def test_page_quotes_a_file_name(pages):
    assert "<b>" not in pages["left"]
    assert "&lt;b&gt;&quot;&#x27;.npz" in pages["left"]


def test_page_is_written_whole_or_not_at_all(tmp_path):
    model = mano_jax.open_hand("right")
    write_hand_page(tmp_path / "hand.html", model, skin=None)
    assert (tmp_path / "hand.html").read_text() == hand_page(model, skin=None)
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OSError, match=r"folder\.html"):
        write_hand_page(tmp_path / "folder.html", model, skin=None)
    with pytest.raises(ValueError, match="side must be one of right, left, both, got 'up'"):
        write_hand_page(tmp_path / "other.html", model, side="up")
    with pytest.raises(ValueError, match="tone must be one of"):
        write_hand_page(tmp_path / "other.html", model, skin="green")
    with pytest.raises(ValueError, match="show the whole hand"):
        write_hand_page(tmp_path / "other.html", model.at_vertices(range(700, 778)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "hand.html"]


# ---- the page in a browser


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser, google-chrome or chrome is installed")
    return found


def run_in_browser(page: str, script: str, folder) -> dict:
    """What the script assigns to `result` after the page is ready, in headless Chromium."""
    text = f"""<script>
    ready.then(() => {{
      const result = {{}};
      {script}
      document.body.append(node("pre", {{ id: "test-result", textContent: JSON.stringify(result) }}));
    }});
    </script></body>"""
    path = folder / "page.html"
    path.write_text(page.replace("</body>", text))
    flags = ["--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
    flags += ["--enable-unsafe-swiftshader", "--virtual-time-budget=8000", f"--user-data-dir={folder / 'profile'}"]
    command = [chromium(), *flags, "--window-size=900,500", "--dump-dom", f"{path.as_uri()}#show=skeleton,frames"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="test-result">(.*?)</pre>', output, re.DOTALL)
    assert found, re.findall(r'<p id="message".*?</p>', output)
    return json.loads(found[1])


@pytest.mark.parametrize("embedded", SIDES)
def test_page_agrees_with_forward_on_both_sides(pages, embedded, tmp_path):
    cases = [(side, made_up_parameters(seed)) for side in SIDES for seed in (4, 5)]
    cases += [(side, HandParameters(np.zeros(45), np.zeros(10), np.array([0.0, 0.0, np.pi]))) for side in SIDES]
    sent = [
        {"side": side, "pose": p.pose.tolist(), "shape": p.shape.tolist(), "rotation": p.rotation.tolist()}
        for side, p in cases
    ]
    script = f"""result.meshes = {json.dumps(sent)}.map((parameters) => {{
      setParameters(parameters);
      const mesh = meshOf(parameters.side), back = parametersOf(parameters.side);
      return {{ vertices: [...mesh.vertices], joints: [...mesh.joints], rotations: mesh.rotations, pose: back.pose }};
    }});"""
    meshes = run_in_browser(pages[embedded], script, tmp_path)["meshes"]
    for (side, parameters), mesh in zip(cases, meshes, strict=True):
        numbers = (parameters.pose, parameters.shape, parameters.rotation, np.zeros(3))
        model = mano_jax.open_hand(side)
        expected = _forward(model, *(jnp.asarray(array, jnp.float32) for array in numbers))
        for name, field in (("vertices", expected.vertices), ("joints", expected.joints)):
            np.testing.assert_allclose(np.reshape(mesh[name], (-1, 3)), field, atol=2e-6, err_msg=f"{side} {name}")
        np.testing.assert_allclose(np.reshape(mesh["rotations"], (16, 3, 3)), expected.joint_rotations, atol=2e-6)
        np.testing.assert_allclose(mesh["pose"], parameters.pose, atol=1e-12)


def test_controls_of_the_page_move_the_hand(pages, sliders, tmp_path):
    ours = sliders["right"]
    index, coefficient = number_of(ours, "index MCP flexion"), number_of(ours, "pose component 0")
    script = f"""
      const slide = (number, value) => {{
        rows[number].range.value = value;
        rows[number].range.dispatchEvent(new Event("input"));
      }};
      result.start = sliderValues();
      slide({index}, 60);
      result.bent = sliderValues();
      result.shown = [rows[{index}].number.value, rows[{coefficient}].number.value];
      slide({coefficient}, 1.5);
      result.after = sliderValues();
      result.pose = parametersOf("right").pose;
      result.python = pythonText();
      result.json = JSON.parse(jsonText());
      choose("side", "both");
      result.both = JSON.parse(jsonText()).map((hand) => hand.pose);
      const gl = element("picture").getContext("webgl2"), canvas = element("picture");
      for (const surface of ["skin", "plain", "parts"]) {{
        choose("surface", surface);
        redraw();
        const pixels = new Uint8Array(4 * canvas.width * canvas.height);
        gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        const colours = new Set();
        let covered = 0;
        for (let i = 0; i < pixels.length; i += 4)
          if (pixels[i + 3]) covered++, colours.add(pixels[i] >> 4 << 8 | pixels[i + 1] >> 4 << 4 | pixels[i + 2] >> 4);
        result[surface] = [covered / (canvas.width * canvas.height), colours.size];
      }}
      location.hash = linkText().split("#")[1];
      readLink();
      result.linked = parametersOf("right").pose;
    """
    result = run_in_browser(pages["right"], script, tmp_path)
    np.testing.assert_allclose(result["start"], ours.values(ours.start), atol=1e-4)
    bent = ours.moved(ours.start, index, 60.0)
    np.testing.assert_allclose(result["bent"], ours.values(bent), atol=1e-4)
    assert result["shown"] == ["60.0", f"{ours.values(bent)[coefficient]:.2f}"]
    after = ours.moved(bent, coefficient, 1.5)
    np.testing.assert_allclose(result["after"], ours.values(after), atol=1e-4)
    np.testing.assert_allclose(result["pose"], after.pose, atol=1e-5)
    np.testing.assert_allclose(result["json"]["pose"], after.pose, atol=1e-5)
    np.testing.assert_allclose(result["both"], [after.mirrored().pose, after.pose], atol=1e-5)
    np.testing.assert_allclose(result["linked"], after.pose, atol=1e-4)
    for surface, fewest in (("skin", 30), ("plain", 20), ("parts", 60)):
        covered, colours = result[surface]
        assert 0.05 < covered < 0.6, surface
        assert colours > fewest, surface

    names = {}
    exec(result["python"], names)
    np.testing.assert_allclose(names["mesh"].vertices, vertices_of(ours.model, after), atol=1e-5)


# ---- the served page


@pytest.fixture(scope="module")
def viewer():
    pytest.importorskip("viser", reason="viser is not installed")
    from mano_jax.viewer.server import Viewer

    viewer = Viewer(mano_jax.open_hand("right"), "both", port=0, skin=None)
    yield viewer
    viewer.stop()


def test_server_answers_and_holds_its_port(viewer):
    from mano_jax.viewer.server import Viewer

    with urllib.request.urlopen(viewer.url, timeout=10) as answer:
        assert answer.status == 200
        assert b"<html" in answer.read()
    with pytest.raises(OSError, match="choose another --port"):
        Viewer(mano_jax.open_hand("right"), "right", port=viewer.server.get_port(), skin=None)


def test_moving_a_slider_of_the_server_moves_mesh_and_sliders(viewer):
    ours = viewer.sliders
    viewer.set_parameters(ours.start)
    index, coefficient = number_of(ours, "index MCP flexion"), number_of(ours, "pose component 0")
    viewer.handles[index].value = 60.0
    bent = ours.moved(ours.start, index, 60.0)
    np.testing.assert_allclose(viewer.parameters.pose, bent.pose, atol=1e-6)
    assert viewer.handles[coefficient].value == pytest.approx(ours.values(bent)[coefficient], abs=0.005 + 1e-9)
    viewer.handles[coefficient].value = 1.5
    after = ours.moved(bent, coefficient, 1.5)
    # Rounded numbers of the other sliders did not come back into the pose.
    np.testing.assert_allclose(viewer.parameters.pose, after.pose, atol=1e-6)
    assert viewer.handles[index].value == ours.table[index].high < ours.values(after)[index]
    for side, parameters in (("right", after), ("left", after.mirrored())):
        expected = vertices_of(mano_jax.open_hand(side), parameters)
        drawn = viewer._nodes[side].plain.vertices
        np.testing.assert_allclose(drawn[:778], expected, atol=1e-6)


def test_looks_of_the_server_show_and_hide(viewer):
    nodes = viewer._nodes["left"]
    viewer.side.value = "right"
    assert not nodes.root.visible
    viewer.side.value = "both"
    assert nodes.root.visible
    viewer.look.value = "parts"
    assert [nodes.plain.visible, *(part.visible for part in nodes.parts)] == [False] + [True] * 6
    viewer.look.value = "plain"
    viewer.skeleton.value = True
    assert nodes.plain.visible
    assert nodes.skeleton.visible
    assert nodes.plain.opacity < 1.0
    expected = viewer.posed("left").keypoints(viewer.sliders.model.fingertips())
    np.testing.assert_allclose(nodes.skeleton.points[:, 1], expected[1:], atol=1e-6)
    viewer.skeleton.value = False


def test_poses_of_the_server(viewer):
    for name, expected in (("flat", np.zeros(45)), ("mean", viewer.sliders.mean)):
        viewer.choose_pose(name)
        np.testing.assert_array_equal(viewer.parameters.pose, expected)
    viewer.choose_pose("fist")
    assert viewer.handles[number_of(viewer.sliders, "middle MCP flexion")].value > 60.0


def test_server_stops_and_leaves_its_port():
    pytest.importorskip("viser", reason="viser is not installed")
    from mano_jax.viewer.server import Viewer

    viewer = Viewer(mano_jax.open_hand("left"), "left", port=0, skin=None)
    port = viewer.server.get_port()
    viewer.stop()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


@pytest.mark.slow
def test_random_poses_of_the_server_are_plausible(viewer):
    from mano_jax.contact import contact_depths

    poses = []
    for _ in range(3):
        viewer.choose_pose("random")
        poses.append(viewer.parameters.pose)
    assert np.ptp(poses, axis=0).max() > 0.1
    depths = contact_depths(viewer._spheres, jnp.asarray(np.array(poses), jnp.float32), jnp.zeros(10))
    assert depths.max() < 0.002


def test_skin_of_the_server_is_textured_geometry():
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    from mano_jax.viewer.appearance import skin_jpeg
    from mano_jax.viewer.scene import textured_glb

    for side in SIDES:
        model = mano_jax.open_hand(side)
        vertices = np.asarray(model.template, np.float64)
        content = textured_glb(vertices, model.faces, mano_jax.open_hand_uv(side), skin_jpeg("light", 64))
        mesh = trimesh.load(trimesh.util.wrap_as_stream(content), file_type="glb").to_geometry()
        np.testing.assert_allclose(mesh.triangles, vertices[model.faces], atol=1e-6)
        assert mesh.visual.material.baseColorTexture.size == (64, 64)


# ---- the command


def test_errors_of_the_command_are_one_line(tmp_path, capsys, monkeypatch):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        (tmp_path / "broken.npz").write_bytes(b"PK broken")
        cases = {
            (f"--port={busy.getsockname()[1]}",): "choose another --port",
            (f"--model={tmp_path / 'missing.pkl'}",): "No such file",
            (f"--model={tmp_path / 'broken.npz'}", "--model_side=left"): "broken.npz",
            (f"--html={tmp_path / 'no' / 'page.html'}",): "no folder",
        }
        for arguments, message in cases.items():
            assert __main__.main([*arguments, "--skin=none"]) == 2
            error = capsys.readouterr().err
            assert message in error
            assert error.count("\n") == 1
    with pytest.raises(SystemExit) as exit_:
        __main__.main(["--side=up"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert __main__.main([]) == 2
    assert "pip install 'handpose-jax[viewer]'" in capsys.readouterr().err


@pytest.mark.slow
def test_command_writes_a_page_and_warns_of_a_foreign_model(tmp_path, capsys):
    assert __main__.main([f"--html={tmp_path / 'open.html'}"]) == 0
    assert capsys.readouterr().err == ""
    open_hand = mano_jax.open_hand("left")
    topology = dataclasses.replace(open_hand.topology, faces=np.roll(open_hand.faces, 1, axis=0))
    model = dataclasses.replace(open_hand, topology=topology)
    mano_jax.save(model, tmp_path / "other.npz")
    assert __main__.main([f"--model={tmp_path / 'other.npz'}", f"--html={tmp_path / 'other.html'}"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "licence" in captured.err
    assert "mano_jax.load(" in (tmp_path / "other.html").read_text()
    assert (tmp_path / "open.html").stat().st_size < 3_000_000
