// (5) and (3) at a pixel: the subject's own colour, and what stands in for a background that is not seen.
#pragma once
#include "cover.cuh"

constexpr float FAINT = 3.9215686e-3f;  // the least opacity of its own that a pixel's missing weight is measured by
constexpr float SLACK = 1e-3f;          // of light, in which (5)'s bounds are not strict

// Colours of subject and background around every place (docs/maths.md, colour fields), linear or as displayed.
struct ColorFields {
  const float4* fore;  // (pictures, rows, columns)
  const float4* back;
  float across, left, down, top;  // column = across * x + left, row = down * y + top
  float below;  // (3): blurred weight under which the background field fills in; no weight is below it without a matte
  int rows, columns;
};

// The fields along a row of a strip, and where a pixel lies among their columns.
struct ColorLines {
  Line fore;
  int apart;  // from the subject's colours to those of the background
  Between column;
  __device__ __forceinline__ float4 at(int behind) const {
    const float4* const line = fore.samples - fore.first + behind * apart;
    return mix(line[column.low], line[column.high], column.t);
  }
};

// (5): the subject's own colour, by blur fusion (Forte and Pitie 2021, eq. 4): F = F' + alpha (I - alpha F' - (1 - alpha)
// B'), as a sum over I, F' and B'. It is held within what a background between black and white leaves of I.
template <int COLOURS>
__device__ __forceinline__ void foreground(const ColorLines& lines, float alpha, float* rgb) {
  const float many = reciprocal(fmaxf(alpha, 1e-20f)), ours = 1.f - alpha * alpha, theirs = alpha * alpha - alpha;
  const float4 fore = lines.at(0), back = lines.at(1);
  const float f[3] = {fore.x, fore.y, fore.z}, b[3] = {back.x, back.y, back.z};
#pragma unroll
  for (int c = 0; c < COLOURS; ++c) {
    const float most = (rgb[c] + SLACK) * many, colour = fmaf(theirs, b[c], fmaf(ours, f[c], rgb[c] * alpha));
    rgb[c] = __saturatef(fminf(fmaxf(colour, most + (1.f - (1.f + 2 * SLACK) * many)), most));
  }
}

// B at a pixel from the sums over the blurred cells: (3)'s division, with the background field where weight is missing,
// which is measured by the pixel's own opacity.
template <int COLOURS>
__device__ __forceinline__ void divide(const ColorLines& lines, float below, float opacity, Cell<COLOURS + 1>& cell) {
  float weight = cell.v[COLOURS];
  below *= fmaxf(opacity, FAINT);
  if (weight < below) {
    const float4 back = lines.at(1);
    const float b[3] = {back.x, back.y, back.z}, lent = below - fmaxf(weight, 0.f);
#pragma unroll
    for (int c = 0; c < COLOURS; ++c)
      cell.v[c] = fmaf(lent, b[c], cell.v[c]);
    weight = below;
  }
  const float share = reciprocal(fmaxf(weight, 1e-12f));
#pragma unroll
  for (int c = 0; c < COLOURS; ++c)
    cell.v[c] *= share;
}
