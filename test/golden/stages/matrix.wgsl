// linear_y: matrix of y
enable f16;
enable subgroups;
diagnostic(off, subgroup_uniformity);
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y_2: array<f16>;
var<workgroup> left_tile: array<f16, 1280>;
var<workgroup> right_tile: array<f16, 1280>;
var<workgroup> strip: array<f32, 1280>;

@compute @workgroup_size(128, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(subgroup_invocation_id) subgroup_lane: u32, @builtin(subgroup_id) subgroup_index: u32) {
  let own_m = subgroup_index / 2u * 16u;
  let own_n = subgroup_index % 2u * 16u;
  var sum: subgroup_matrix_result<f32, 16, 16>;
  for (var slice: u32 = 0u; slice < 32u; slice += 32u) {
    let line = local_index / 4u;
    let run = local_index % 4u;
    let values = x[line * 4u + (slice / 8u + run)];
    let at = line * 40u + run * 8u;
    let line_1 = local_index / 4u;
    let run_1 = local_index % 4u;
    let values_1 = w[line_1 * 4u + (slice / 8u + run_1)];
    let at_1 = line_1 * 40u + run_1 * 8u;
    let halves = bitcast<vec2<f16>>(values.x);
    left_tile[at] = halves.x;
    left_tile[at + 1u] = halves.y;
    let halves_1 = bitcast<vec2<f16>>(values.y);
    left_tile[at + 2u] = halves_1.x;
    left_tile[at + 3u] = halves_1.y;
    let halves_2 = bitcast<vec2<f16>>(values.z);
    left_tile[at + 4u] = halves_2.x;
    left_tile[at + 5u] = halves_2.y;
    let halves_3 = bitcast<vec2<f16>>(values.w);
    left_tile[at + 6u] = halves_3.x;
    left_tile[at + 7u] = halves_3.y;
    let halves_4 = bitcast<vec2<f16>>(values_1.x);
    right_tile[at_1] = halves_4.x;
    right_tile[at_1 + 1u] = halves_4.y;
    let halves_5 = bitcast<vec2<f16>>(values_1.y);
    right_tile[at_1 + 2u] = halves_5.x;
    right_tile[at_1 + 3u] = halves_5.y;
    let halves_6 = bitcast<vec2<f16>>(values_1.z);
    right_tile[at_1 + 4u] = halves_6.x;
    right_tile[at_1 + 5u] = halves_6.y;
    let halves_7 = bitcast<vec2<f16>>(values_1.w);
    right_tile[at_1 + 6u] = halves_7.x;
    right_tile[at_1 + 7u] = halves_7.y;
    workgroupBarrier();
    let at_2 = own_m * 40u;
    let left = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&left_tile, at_2, 40u);
    let at_3 = own_n * 40u;
    let right = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&right_tile, at_3, 40u);
    sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
    let at_4 = own_m * 40u + 16u;
    let left_1 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&left_tile, at_4, 40u);
    let at_5 = own_n * 40u + 16u;
    let right_1 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&right_tile, at_5, 40u);
    sum = subgroupMatrixMultiplyAccumulate(left_1, right_1, sum);
    workgroupBarrier();
  }
  let strip_start = subgroup_index * 320u;
  subgroupMatrixStore<row_major>(&strip, strip_start, sum, 20u);
  workgroupBarrier();
  for (var element: u32 = subgroup_lane; element < 256u; element += 32u) {
    let row = element / 16u;
    let column = element % 16u;
    let m = own_m + row;
    let n = own_n + column;
    if ((m < 32u) && (n < 32u)) {
      let sum_1 = strip[strip_start + (row * 20u + column)];
      let t = m % 32u;
      let b = m / 32u;
      y_2[(b * 32u + t) * 32u + n] = f16(sum_1);
    }
  }
  workgroupBarrier();
}
