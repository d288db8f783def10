// linear_y: matrix of y
enable f16;
enable subgroups;
diagnostic(off, subgroup_uniformity);
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y_2: array<f16>;
var<workgroup> tiles: array<vec4<u32>, 320>;

@compute @workgroup_size(128, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(subgroup_invocation_id) subgroup_lane: u32, @builtin(subgroup_id) subgroup_index: u32) {
  let own_m = subgroup_index / 2u * 16u;
  let own_n = subgroup_index % 2u * 16u;
  let line = local_index / 4u;
  let run = local_index % 4u;
  let column = run * 8u;
  let source = line * 4u + run;
  let target_ = line * 5u + (run * 8u / 8u + run * 8u / 8u / 8u);
  let line_1 = local_index / 4u;
  let run_1 = local_index % 4u;
  let column_1 = run_1 * 8u;
  let source_1 = line_1 * 4u + run_1;
  let target_1 = line_1 * 5u + 160u + (run_1 * 8u / 8u + run_1 * 8u / 8u / 8u);
  var sum = subgroup_matrix_result<f32, 16, 16>();
  let own = own_m * 5u;
  let own_1 = own_n * 5u + 160u;
  for (var slice: u32 = 0u; slice < 32u; slice += 32u) {
    let address = source + slice / 8u;
    let values = x[address];
    let address_1 = source_1 + slice / 8u;
    let values_1 = w[address_1];
    tiles[target_] = values;
    tiles[target_1] = values_1;
    workgroupBarrier();
    let left = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tiles, own, 5u);
    let right = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, own_1, 5u);
    sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
    let left_1 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tiles, own + 2u, 5u);
    let right_1 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, own_1 + 2u, 5u);
    sum = subgroupMatrixMultiplyAccumulate(left_1, right_1, sum);
    workgroupBarrier();
  }
  let strip_start = subgroup_index * 80u;
  subgroupMatrixStore<row_major>(&tiles, strip_start, sum, 5u);
  workgroupBarrier();
  for (var element: u32 = subgroup_lane; element < 256u; element += 32u) {
    let row = element / 16u;
    let column_2 = element % 16u;
    let m = own_m + row;
    let n = own_n + column_2;
    if ((m < 32u) && (n < 32u)) {
      let at = row * 5u + column_2 / 4u;
      let which = column_2 % 4u;
      let four = tiles[at + strip_start];
      let sum_1 = bitcast<f32>(select(select(four.w, four.z, (which == 2u)), select(four.y, four.x, (which == 0u)), (which < 2u)));
      let t = m % 32u;
      let b = m / 32u;
      y_2[(b * 32u + t) * 32u + n] = f16(sum_1);
    }
  }
  workgroupBarrier();
}
