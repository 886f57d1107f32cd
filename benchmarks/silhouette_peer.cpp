// What a careful C++ programmer would write for the same silhouette: the peer that benchmarks/silhouette.py compiles.
//
// Each face visits the pixels of its blur-dilated, clipped bounding box; closed-form gradient; OpenMP. A single image is
// split among the threads by rows (forward) and by faces (backward), a batch by images.
#include <algorithm>
#include <cmath>
#include <vector>

namespace {

const float kCutoff = 9.21024036697585f;  // ln(1 / 1e-4 - 1)

struct Edge {
  float au, av, eu, ev, length;  // start, unit direction, length
};

struct Face {
  Edge edges[3];
  float orientation, box[4];  // u low, u high, v low, v high, dilated
  bool valid;
};

Face prepare(const float* vertices, const int* face, float radius) {
  Face out;
  const float* corner[3] = {vertices + 3 * face[0], vertices + 3 * face[1], vertices + 3 * face[2]};
  const float area = (corner[1][0] - corner[0][0]) * (corner[2][1] - corner[0][1]) -
                     (corner[1][1] - corner[0][1]) * (corner[2][0] - corner[0][0]);
  out.valid = std::fabs(area) > 1e-9f && corner[0][2] > 0 && corner[1][2] > 0 && corner[2][2] > 0;
  out.orientation = area < 0 ? -1.f : 1.f;
  for (int k = 0; k < 3; ++k) {
    const float *a = corner[k], *b = corner[(k + 1) % 3];
    const float du = b[0] - a[0], dv = b[1] - a[1], length = std::sqrt(du * du + dv * dv);
    out.edges[k] = {a[0], a[1], du / length, dv / length, length};
  }
  for (int axis = 0; axis < 2; ++axis) {
    out.box[2 * axis] = std::min({corner[0][axis], corner[1][axis], corner[2][axis]}) - radius;
    out.box[2 * axis + 1] = std::max({corner[0][axis], corner[1][axis], corner[2][axis]}) + radius;
  }
  return out;
}

int first_pixel(float low, int from) { return std::max(from, (int)std::ceil(std::max(low, -1e6f) - 0.5f)); }
int last_pixel(float high, int to) { return std::min(to - 1, (int)std::floor(std::min(high, 1e6f) - 0.5f)); }

// transparency *= product of (1 - p) over the faces, for the rows [from, to).
void forward_rows(const std::vector<Face>& faces, int width, int from, int to, float sigma, float* transparency) {
  const float inverse = 1 / sigma, limit = kCutoff * sigma;
  for (const Face& face : faces) {
    if (!face.valid) continue;
    const int left = first_pixel(face.box[0], 0), right = last_pixel(face.box[1], width);
    const int top = first_pixel(face.box[2], from), bottom = last_pixel(face.box[3], to);
    for (int row = top; row <= bottom; ++row) {
      const float v = row + 0.5f;
      float* line = transparency + (long)row * width;
#pragma omp simd
      for (int column = left; column <= right; ++column) {
        const float u = column + 0.5f;
        float nearest = 1e30f, inside = 1e30f;
        for (int k = 0; k < 3; ++k) {
          const Edge& edge = face.edges[k];
          const float du = u - edge.au, dv = v - edge.av;
          const float along = du * edge.eu + dv * edge.ev;
          const float across = face.orientation * (edge.eu * dv - edge.ev * du);
          const float over = along - std::min(std::max(along, 0.f), edge.length);
          nearest = std::min(nearest, across * across + over * over);
          inside = std::min(inside, across);
        }
        const float x = (inside >= 0 ? nearest : -nearest) * inverse;
        const float factor = 1 / (1 + std::exp(std::min(x, 80.f)));
        line[column] *= (inside < 0 && nearest > limit) ? 1.f : factor;
      }
    }
  }
}

// Gradient to the three corners (u, v) of one face; weight = dloss/dalpha * transparency.
void backward_face(const Face& face, int width, int height, float sigma, const float* weight, float* gradient) {
  std::fill(gradient, gradient + 6, 0.f);
  if (!face.valid) return;
  const float inverse = 1 / sigma, limit = kCutoff * sigma;
  const int left = first_pixel(face.box[0], 0), right = last_pixel(face.box[1], width);
  const int top = first_pixel(face.box[2], 0), bottom = last_pixel(face.box[3], height);
  float start_u[3] = {}, start_v[3] = {}, end_u[3] = {}, end_v[3] = {};
  for (int row = top; row <= bottom; ++row) {
    const float v = row + 0.5f;
    const float* line = weight + (long)row * width;
    float su0 = 0, su1 = 0, su2 = 0, sv0 = 0, sv1 = 0, sv2 = 0, eu0 = 0, eu1 = 0, eu2 = 0, ev0 = 0, ev1 = 0, ev2 = 0;
#pragma omp simd reduction(+ : su0, su1, su2, sv0, sv1, sv2, eu0, eu1, eu2, ev0, ev1, ev2)
    for (int column = left; column <= right; ++column) {
      const float u = column + 0.5f;
      float distance[3], ru[3], rv[3], t[3], inside = 1e30f;
      for (int k = 0; k < 3; ++k) {
        const Edge& edge = face.edges[k];
        const float du = u - edge.au, dv = v - edge.av;
        const float along = du * edge.eu + dv * edge.ev;
        const float across = face.orientation * (edge.eu * dv - edge.ev * du);
        const float clipped = std::min(std::max(along, 0.f), edge.length);
        ru[k] = du - clipped * edge.eu;
        rv[k] = dv - clipped * edge.ev;
        t[k] = clipped / edge.length;
        distance[k] = ru[k] * ru[k] + rv[k] * rv[k];
        inside = std::min(inside, across);
      }
      const float nearest = std::min(distance[0], std::min(distance[1], distance[2]));
      const float x = (inside >= 0 ? nearest : -nearest) * inverse;
      const float p = 1 / (1 + std::exp(std::min(-x, 80.f)));
      const float slope = line[column] * p * (inside >= 0 ? -2 * inverse : 2 * inverse);
      const float c = (inside < 0 && nearest > limit) ? 0.f : slope;
      const float c0 = distance[0] == nearest ? c : 0.f;
      const float c1 = distance[0] != nearest && distance[1] == nearest ? c : 0.f;
      const float c2 = distance[0] != nearest && distance[1] != nearest ? c : 0.f;
      su0 += c0 * ru[0] * (1 - t[0]), sv0 += c0 * rv[0] * (1 - t[0]), eu0 += c0 * ru[0] * t[0], ev0 += c0 * rv[0] * t[0];
      su1 += c1 * ru[1] * (1 - t[1]), sv1 += c1 * rv[1] * (1 - t[1]), eu1 += c1 * ru[1] * t[1], ev1 += c1 * rv[1] * t[1];
      su2 += c2 * ru[2] * (1 - t[2]), sv2 += c2 * rv[2] * (1 - t[2]), eu2 += c2 * ru[2] * t[2], ev2 += c2 * rv[2] * t[2];
    }
    start_u[0] += su0, start_u[1] += su1, start_u[2] += su2, start_v[0] += sv0, start_v[1] += sv1, start_v[2] += sv2;
    end_u[0] += eu0, end_u[1] += eu1, end_u[2] += eu2, end_v[0] += ev0, end_v[1] += ev1, end_v[2] += ev2;
  }
  for (int k = 0; k < 3; ++k) {
    gradient[2 * k] = start_u[k] + end_u[(k + 2) % 3];
    gradient[2 * k + 1] = start_v[k] + end_v[(k + 2) % 3];
  }
}

}  // namespace

extern "C" {

// vertices [batch, vertex_count, 3], faces [face_count, 3], alpha [batch, height, width].
void silhouette_forward(const float* vertices, const int* faces, int batch, int vertex_count, int face_count,
                        int height, int width, float sigma, float* alpha) {
  const float radius = std::sqrt(kCutoff * sigma);
  const long pixels = (long)height * width;
  const int bands = batch == 1 ? 8 : 1;
  std::vector<std::vector<Face>> tables(batch, std::vector<Face>(face_count));
  for (int image = 0; image < batch; ++image)
    for (int face = 0; face < face_count; ++face)
      tables[image][face] = prepare(vertices + 3l * image * vertex_count, faces + 3 * face, radius);
#pragma omp parallel for schedule(dynamic, 1)
  for (int job = 0; job < batch * bands; ++job) {
    const int image = job / bands, band = job % bands;
    const int from = band * height / bands, to = (band + 1) * height / bands;
    float* out = alpha + image * pixels;
    std::fill(out + (long)from * width, out + (long)to * width, 1.f);
    forward_rows(tables[image], width, from, to, sigma, out);
    for (long pixel = (long)from * width; pixel < (long)to * width; ++pixel) out[pixel] = 1 - out[pixel];
  }
}

// cotangent [batch, height, width] of alpha -> gradient [batch, vertex_count, 3] (depth: 0).
void silhouette_backward(const float* vertices, const int* faces, int batch, int vertex_count, int face_count,
                         int height, int width, float sigma, const float* alpha, const float* cotangent,
                         float* gradient) {
  const float radius = std::sqrt(kCutoff * sigma);
  const long pixels = (long)height * width;
  std::vector<float> weight(batch * pixels), corners(6l * batch * face_count);
#pragma omp parallel for
  for (long pixel = 0; pixel < batch * pixels; ++pixel) weight[pixel] = cotangent[pixel] * (1 - alpha[pixel]);
#pragma omp parallel for schedule(dynamic, 64)
  for (int job = 0; job < batch * face_count; ++job) {
    const int image = job / face_count, number = job % face_count;
    const Face face = prepare(vertices + 3l * image * vertex_count, faces + 3 * number, radius);
    backward_face(face, width, height, sigma, weight.data() + image * pixels, corners.data() + 6l * job);
  }
  std::fill(gradient, gradient + 3l * batch * vertex_count, 0.f);
  for (int job = 0; job < batch * face_count; ++job) {
    const int image = job / face_count, number = job % face_count;
    for (int k = 0; k < 3; ++k)
      for (int axis = 0; axis < 2; ++axis)
        gradient[3l * (image * vertex_count + faces[3 * number + k]) + axis] += corners[6l * job + 2 * k + axis];
  }
}
}
