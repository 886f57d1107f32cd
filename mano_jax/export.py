"""Writing a mesh to OBJ, PLY or GLB files, through trimesh (imported here only)."""

import os
import pathlib

import numpy as np
from jaxtyping import ArrayLike, Float, Int

MESH_FORMATS = ("glb", "obj", "ply")
_OPENCV = "metres, camera frame of OpenCV: x right, y down, z forward"
_OPENGL = "metres, camera frame of OpenGL: x right, y up, z backward"
_SKIN = (214, 172, 148, 255)


def write_mesh(
    path: str | pathlib.Path,
    vertices: Float[ArrayLike, "vertices 3"],
    faces: Int[ArrayLike, "faces 3"],
    name: str = "hand",
) -> None:
    """Write one mesh, with smooth vertex normals, in the format of the path's suffix.

    OBJ and PLY keep the coordinates as they are, in the camera frame (OpenCV axes), and say so in a comment.
    glTF demands y up, so a GLB is turned by half a circle about x into OpenGL's camera frame, (x, -y, -z): it stands
    upright in every viewer, seen as the camera saw it; `asset.extras` of the file says so. Metres in all of them.

    The file appears whole or not at all.

    Args:
      path: ends in .glb, .obj or .ply.
      vertices: metres, camera frame.
      faces: counter-clockwise from outside.
      name: of the mesh inside the file, where the format has names.

    Raises:
      ValueError: another suffix, a wrong shape, or a coordinate that is not finite.
      OSError: the file cannot be written.
    """
    path = pathlib.Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in MESH_FORMATS:
        raise ValueError(f"{path}: a mesh file's name must end in .{', .'.join(MESH_FORMATS)}")
    content = mesh_bytes(kind, vertices, faces, name)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def mesh_bytes(
    kind: str, vertices: Float[ArrayLike, "vertices 3"], faces: Int[ArrayLike, "faces 3"], name: str = "hand"
) -> bytes:
    """What `write_mesh` writes, for "glb", "obj" or "ply"."""
    from trimesh import Scene, Trimesh
    from trimesh.exchange.gltf import export_glb
    from trimesh.exchange.obj import export_obj
    from trimesh.exchange.ply import export_ply
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    points, triangles = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    if points.ndim != 2 or points.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(
            f"a mesh needs vertices [V, 3] and faces [F, 3], got {list(points.shape)} and {list(triangles.shape)}"
        )
    if not np.isfinite(points).all():
        raise ValueError("a mesh with coordinates that are not finite cannot be written; leave hands out that failed")
    if kind == "glb":
        points = points * (1.0, -1.0, -1.0)
    # process=False: merging or reordering would break the correspondence with the model's vertices.
    mesh = Trimesh(points, triangles, process=False, metadata={"name": name})
    normals = mesh.vertex_normals
    mesh = Trimesh(points, triangles, vertex_normals=normals, process=False, metadata={"name": name})
    match kind:
        case "obj":
            text = export_obj(mesh, include_normals=True, include_color=False, header=f"{_plain(name)}: {_OPENCV}")
            comment, body = str(text).split("\n", 1)
            return f"{comment}\no {_plain(name)}\n{body}\n".encode()
        case "ply":
            content = export_ply(mesh, encoding="binary", vertex_normal=True)
            head, body = content.split(b"end_header\n", 1)
            lines = [line for line in head.splitlines() if not line.startswith(b"comment")]
            lines.insert(2, f"comment {_plain(name)}: {_OPENCV}".encode())
            return b"\n".join(lines) + b"\nend_header\n" + body
        case "glb":
            material = PBRMaterial(name="skin", baseColorFactor=_SKIN, metallicFactor=0.0, roughnessFactor=0.6)
            mesh.visual = TextureVisuals(material=material)
            scene = Scene()
            scene.add_geometry(mesh, geom_name=name, node_name=name)

            def state_frame(tree: dict) -> None:
                tree["asset"] = {**tree["asset"], "generator": "mano_jax", "extras": {"frame": _OPENGL}}

            return export_glb(scene, include_normals=True, tree_postprocessor=state_frame)
        case _:
            raise ValueError(f"mesh format must be one of {', '.join(MESH_FORMATS)}, got {kind!r}")


def _plain(name: str) -> str:
    """Names in text formats end at the line's end."""
    return " ".join(name.split())
