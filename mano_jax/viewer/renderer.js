// WebGL 2: triangles with smooth normals, lit from beside the camera; a 2D canvas on top draws skeleton and axes.

const VERTEX_SHADER = `#version 300 es
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in vec2 uv;
layout(location = 3) in vec3 partColour;
layout(location = 4) in vec3 corner;
uniform mat4 toClip, toView;
out vec3 viewNormal, viewPosition, edgeDistance, part;
out vec2 texturePlace;
void main() {
  viewNormal = mat3(toView) * normal;
  viewPosition = (toView * vec4(position, 1.0)).xyz;
  edgeDistance = corner;
  part = partColour;
  texturePlace = uv;
  gl_Position = toClip * vec4(position, 1.0);
}`;

const FRAGMENT_SHADER = `#version 300 es
precision highp float;
in vec3 viewNormal, viewPosition, edgeDistance, part;
in vec2 texturePlace;
uniform sampler2D skin;
uniform int surface;  // 0 skin texture, 1 plain, 2 parts
uniform float wireframe;
uniform vec3 plainColour;
out vec4 colour;

vec3 linear(vec3 srgb) { return pow(srgb, vec3(2.2)); }

void main() {
  bool lid = texturePlace.x < -0.5;
  vec3 albedo = linear(surface == 2 ? part : plainColour);
  if (surface == 0) albedo = linear(texture(skin, lid ? vec2(0.002) : texturePlace).rgb);
  if (lid) albedo *= 0.8;
  vec3 n = normalize(viewNormal), toEye = normalize(-viewPosition);
  if (dot(n, toEye) < 0.0 && !gl_FrontFacing) n = -n;

  // Light wraps round flesh, and where it fades out it is red.
  vec3 key = normalize(vec3(-0.55, 0.75, 0.75)), fill = normalize(vec3(0.9, 0.05, 0.5));
  float toKey = dot(n, key), toFill = dot(n, fill);
  vec3 wrap = surface == 2 ? vec3(0.15) : vec3(0.34, 0.16, 0.12);
  vec3 lit = 1.9 * vec3(1.0, 0.97, 0.92) * max((toKey + wrap) / (1.0 + wrap), 0.0);
  lit += 0.42 * vec3(0.86, 0.93, 1.0) * max((toFill + 0.3) / 1.3, 0.0);
  lit += mix(vec3(0.20, 0.17, 0.16), vec3(0.46, 0.48, 0.52), 0.5 + 0.5 * n.y);
  vec3 halfway = normalize(key + toEye);
  float grazing = pow(1.0 - max(dot(n, toEye), 0.0), 4.0);
  vec3 shine = vec3(0.16) * pow(max(dot(n, halfway), 0.0), 26.0) + vec3(0.05) * pow(max(dot(n, halfway), 0.0), 90.0);
  shine += 0.22 * grazing * max(0.4 + 0.6 * n.y, 0.0) * vec3(0.9, 0.95, 1.0);
  vec3 shaded = albedo * lit * 0.78 + shine;

  vec3 width = fwidth(edgeDistance) * 1.1;
  vec3 near = smoothstep(vec3(0.0), width, edgeDistance);
  float line = wireframe * (1.0 - min(min(near.x, near.y), near.z));
  shaded = mix(shaded, shaded * 0.16, 0.8 * line);
  shaded = shaded / (1.0 + 0.18 * shaded);
  colour = vec4(pow(shaded, vec3(1.0 / 2.2)), 1.0);
}`;

// Makes `draw(hands, camera, options)` for a canvas; null where there is no WebGL 2.
function makeRenderer(canvas, model, partColours, plainColour) {
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: true, preserveDrawingBuffer: true });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  const place = (name) => gl.getUniformLocation(program, name);

  // Every triangle has corners of its own: colours end where parts do, and edges can be drawn inside triangles.
  const skinCorners = model.faces.length, corners = skinCorners + model.lid.length;
  const constant = new Float32Array(8 * corners), moving = new Float32Array(6 * corners);
  for (let i = 0; i < corners; i++) {
    const onSkin = i < skinCorners, colour = partColours[onSkin ? model.faceParts[Math.floor(i / 3)] : 0];
    let uv = onSkin ? [0, 0] : [-1, -1];
    if (onSkin && model.uv) uv = [model.uv[2 * model.uvFaces[i]], 1 - model.uv[2 * model.uvFaces[i] + 1]];
    constant.set([...uv, ...colour.map((c) => c / 255), i % 3 === 0, i % 3 === 1, i % 3 === 2], 8 * i);
  }
  const buffers = [constant, moving].map((data) => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, data === moving ? gl.DYNAMIC_DRAW : gl.STATIC_DRAW);
    return buffer;
  });
  const attribute = (buffer, location, size, stride, offset) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, gl.FLOAT, false, 4 * stride, 4 * offset);
  };
  attribute(buffers[1], 0, 3, 6, 0);
  attribute(buffers[1], 1, 3, 6, 3);
  attribute(buffers[0], 2, 2, 8, 0);
  attribute(buffers[0], 3, 3, 8, 2);
  attribute(buffers[0], 4, 3, 8, 5);

  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array([...plainColour, 255]));

  function setSkin(image) {
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    const sharp = gl.getExtension("EXT_texture_filter_anisotropic");
    if (sharp) gl.texParameterf(gl.TEXTURE_2D, sharp.TEXTURE_MAX_ANISOTROPY_EXT, 8);
  }

  // One hand: points and normals in the space of the picture.
  function fill(hand) {
    const normals = vertexNormals(hand.points, model.faces);
    // A mirrored hand has its triangles the other way round.
    const sign = hand.mirrored ? -1 : 1;
    let lidNormal = [0, 0, 0];
    for (let i = 0; i < model.lid.length; i += 3)
      areaVector(hand.points, ...model.lid.subarray(i, i + 3)).forEach((part, c) => (lidNormal[c] += part));
    const length = Math.hypot(...lidNormal) || 1;
    lidNormal = lidNormal.map((part) => (sign * part) / length);
    for (let i = 0; i < corners; i++) {
      const onSkin = i < skinCorners, vertex = onSkin ? model.faces[i] : model.lid[i - skinCorners];
      for (let c = 0; c < 3; c++) {
        moving[6 * i + c] = hand.points[3 * vertex + c];
        moving[6 * i + 3 + c] = onSkin ? sign * normals[3 * vertex + c] : lidNormal[c];
      }
    }
  }

  function draw(hands, camera, options) {
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix4fv(place("toClip"), true, camera.toClip);
    gl.uniformMatrix4fv(place("toView"), true, camera.toView);
    gl.uniform1i(place("surface"), options.surface);
    gl.uniform1f(place("wireframe"), options.wireframe ? 1 : 0);
    gl.uniform3fv(place("plainColour"), plainColour.map((c) => c / 255));
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[1]);
    for (const hand of hands) {
      gl.frontFace(hand.mirrored ? gl.CW : gl.CCW);
      fill(hand);
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, moving);
      gl.drawArrays(gl.TRIANGLES, 0, corners);
    }
  }
  return { draw, setSkin };
}

// A camera that looks at `target` from a direction given by two angles; matrices row by row, 4 x 4.
function makeCamera({ yaw, pitch, distance, target }, aspect) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const right = [cy, 0, -sy], back = [sy * cp, sp, cy * cp];
  const up = [-sy * sp, cp, -cy * sp];
  const eye = target.map((t, c) => t + distance * back[c]);
  const dot = (axis) => -(axis[0] * eye[0] + axis[1] * eye[1] + axis[2] * eye[2]);
  const toView = [...right, dot(right), ...up, dot(up), ...back, dot(back), 0, 0, 0, 1];
  // Half the field of view of the shorter side of the picture is 14 degrees.
  const focal = 1 / Math.tan((14 * Math.PI) / 180), near = 0.02, far = 5;
  const [fx, fy] = aspect > 1 ? [focal / aspect, focal] : [focal, focal * aspect];
  const projection = [fx, 0, 0, 0, 0, fy, 0, 0, 0, 0, (far + near) / (near - far), (2 * far * near) / (near - far), 0, 0, -1, 0];
  const toClip = new Array(16).fill(0);
  for (let row = 0; row < 4; row++)
    for (let column = 0; column < 4; column++)
      for (let k = 0; k < 4; k++) toClip[4 * row + column] += projection[4 * row + k] * toView[4 * k + column];
  return { toView, toClip, right, up };
}

// Lines and dots over the picture, far ones first. Each: {from, to, colour, width} or {at, colour, radius}.
function drawOverlay(canvas, camera, marks, outline) {
  const context = canvas.getContext("2d"), scale = Math.min(canvas.width, canvas.height) / 900;
  context.clearRect(0, 0, canvas.width, canvas.height);
  const project = (p) => {
    const [x, y, , w] = [0, 1, 2, 3].map((r) => {
      const m = camera.toClip.slice(4 * r, 4 * r + 4);
      return m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3];
    });
    return { x: ((x / w + 1) / 2) * canvas.width, y: ((1 - y / w) / 2) * canvas.height, depth: w };
  };
  const drawn = marks.map((mark) => {
    const ends = mark.at ? [project(mark.at)] : [project(mark.from), project(mark.to)];
    return { ...mark, ends, depth: ends.reduce((sum, end) => sum + end.depth, 0) / ends.length - (mark.at ? 0.002 : 0) };
  });
  drawn.sort((a, b) => b.depth - a.depth);
  context.lineCap = "round";
  for (const { ends, colour, width, radius } of drawn) {
    if (ends.some((end) => end.depth <= 0)) continue;
    for (const [style, extra] of [[outline, 1.5], [colour, 0]]) {
      context.beginPath();
      context.strokeStyle = context.fillStyle = style;
      if (radius) {
        context.arc(ends[0].x, ends[0].y, Math.max(radius * scale, 2.5) + extra, 0, 2 * Math.PI);
        context.fill();
      } else {
        context.lineWidth = Math.max(width * scale, 2) + 2 * extra;
        context.moveTo(ends[0].x, ends[0].y);
        context.lineTo(ends[1].x, ends[1].y);
        context.stroke();
      }
    }
  }
}
