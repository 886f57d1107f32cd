// The hand function of mano_jax.forward, in plain JavaScript: blend shapes, kinematic chain, linear blend skinning.
// Lengths are metres, angles radians, matrices row by row. Everything here is free of the page.

const CORRECTIVES = 135;

// The model's arrays out of the page's one block; `layout` says where each is.
function unpackArrays(buffer, layout) {
  const kinds = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
  const arrays = {};
  for (const [name, { type, offset, shape }] of Object.entries(layout)) {
    arrays[name] = new kinds[type](buffer, offset, shape.reduce((a, b) => a * b, 1));
    arrays[name].shape = shape;
  }
  return arrays;
}

// Rodrigues' formula R = I + a [v]x + b [v]x^2 with a = sin(t)/t, b = (1 - cos t)/t^2; series near t = 0.
function rotationMatrix(x, y, z) {
  const squared = x * x + y * y + z * z;
  let a = 1 - squared / 6, b = 0.5 - squared / 24;
  if (squared > 1e-8) {
    const angle = Math.sqrt(squared), half = Math.sin(angle / 2);
    a = Math.sin(angle) / angle;
    b = (2 * half * half) / squared;
  }
  return [
    1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y,
    b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x,
    b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y),
  ];
}

function multiply(p, q) {
  const product = new Array(9);
  for (let row = 0; row < 9; row += 3)
    for (let column = 0; column < 3; column++)
      product[row + column] = p[row] * q[column] + p[row + 1] * q[column + 3] + p[row + 2] * q[column + 6];
  return product;
}

function turn(matrix, x, y, z) {
  return [
    matrix[0] * x + matrix[1] * y + matrix[2] * z,
    matrix[3] * x + matrix[4] * y + matrix[5] * z,
    matrix[6] * x + matrix[7] * y + matrix[8] * z,
  ];
}

// pose [45], shape [shapes], rotation [3] -> vertices [vertices * 3], joints [16 * 3], rotations: 16 matrices.
function evaluateHand(model, parents, pose, shape, rotation) {
  const count = model.template.length / 3;
  const local = [];
  for (let joint = 0; joint < 16; joint++) {
    const v = joint === 0 ? rotation : pose.slice(3 * joint - 3, 3 * joint);
    local.push(rotationMatrix(v[0], v[1], v[2]));
  }
  const weights = new Float64Array(CORRECTIVES + shape.length);
  for (let k = 0; k < CORRECTIVES; k++) weights[k] = local[1 + Math.floor(k / 9)][k % 9] - (k % 9 % 4 === 0 ? 1 : 0);
  weights.set(shape, CORRECTIVES);

  // The basis is in planes, [blends][3][vertices].
  const rest = new Float64Array(3 * count);
  for (let v = 0; v < count; v++) for (let c = 0; c < 3; c++) rest[c * count + v] = model.template[3 * v + c];
  for (let k = 0; k < weights.length; k++) {
    const weight = weights[k], start = 3 * count * k;
    if (weight !== 0) for (let i = 0; i < 3 * count; i++) rest[i] += weight * model.blendBasis[start + i];
  }
  const restJoints = Float64Array.from(model.jointTemplate);
  for (let k = 0; k < shape.length; k++)
    for (let i = 0; i < 48; i++) restJoints[i] += shape[k] * model.jointShapeBasis[48 * k + i];

  const rotations = [], joints = new Float64Array(48), offsets = new Float64Array(48);
  for (let joint = 0; joint < 16; joint++) {
    const parent = parents[joint], at = 3 * joint;
    if (parent < 0) {
      rotations.push(local[joint]);
      joints.set(restJoints.subarray(at, at + 3), at);
    } else {
      rotations.push(multiply(rotations[parent], local[joint]));
      const bone = [0, 1, 2].map((c) => restJoints[at + c] - restJoints[3 * parent + c]);
      turn(rotations[parent], ...bone).forEach((part, c) => (joints[at + c] = joints[3 * parent + c] + part));
    }
    // x -> R (x - rest joint) + joint; skinning averages these maps.
    turn(rotations[joint], ...restJoints.subarray(at, at + 3)).forEach(
      (part, c) => (offsets[at + c] = joints[at + c] - part));
  }

  const vertices = new Float64Array(3 * count), map = new Float64Array(12);
  for (let v = 0; v < count; v++) {
    map.fill(0);
    for (let joint = 0; joint < 16; joint++) {
      const weight = model.skinningWeights[16 * v + joint];
      if (weight === 0) continue;
      for (let i = 0; i < 9; i++) map[i] += weight * rotations[joint][i];
      for (let c = 0; c < 3; c++) map[9 + c] += weight * offsets[3 * joint + c];
    }
    turn(map, rest[v], rest[count + v], rest[2 * count + v]).forEach((part, c) => (vertices[3 * v + c] = part + map[9 + c]));
  }
  return { vertices, joints, rotations };
}

// An axis-angle vector, or several, seen in the mirror x -> -x.
const mirrorRotations = (vectors) => Array.from(vectors, (value, i) => (i % 3 === 0 ? value : -value));
const mirrorPoints = (points) => points.map((value, i) => (i % 3 === 0 ? -value : value));

// Unit normals of the vertices, their triangles' weighted by area.
function vertexNormals(vertices, faces) {
  const normals = new Float64Array(vertices.length);
  for (let f = 0; f < faces.length; f += 3) {
    const normal = areaVector(vertices, faces[f], faces[f + 1], faces[f + 2]);
    for (let corner = 0; corner < 3; corner++) for (let c = 0; c < 3; c++) normals[3 * faces[f + corner] + c] += normal[c];
  }
  for (let i = 0; i < normals.length; i += 3) {
    const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
    for (let c = 0; c < 3; c++) normals[i + c] /= length;
  }
  return normals;
}

function areaVector(vertices, i, j, k) {
  const edge = (to, c) => vertices[3 * to + c] - vertices[3 * i + c];
  const [a, b, d, e, f, g] = [edge(j, 0), edge(j, 1), edge(j, 2), edge(k, 0), edge(k, 1), edge(k, 2)];
  return [b * g - d * f, d * e - a * g, a * f - b * e];
}

// Joint angles (flexion, abduction, twist; 16 joints, the wrist first) of a pose and a wrist rotation, and back.
function anglesFromPose(axes, pose, rotation) {
  const angles = new Float64Array(48);
  for (let joint = 0; joint < 16; joint++)
    for (let axis = 0; axis < 3; axis++)
      for (let c = 0; c < 3; c++)
        angles[3 * joint + axis] += axes[9 * joint + 3 * axis + c] * (joint ? pose[3 * joint - 3 + c] : rotation[c]);
  return angles;
}

function poseFromAngles(axes, fingerAngles) {
  const pose = new Array(45).fill(0);
  for (let joint = 1; joint < 16; joint++)
    for (let axis = 0; axis < 3; axis++)
      for (let c = 0; c < 3; c++)
        pose[3 * joint - 3 + c] += axes[9 * joint + 3 * axis + c] * fingerAngles[3 * joint - 3 + axis];
  return pose;
}

function coefficientsFromPose(model, pose) {
  const coefficients = new Float64Array(45);
  for (let p = 0; p < 45; p++)
    for (let k = 0; k < 45; k++) coefficients[k] += (pose[p] - model.poseMean[p]) * model.inversePoseBasis[45 * p + k];
  return coefficients;
}
