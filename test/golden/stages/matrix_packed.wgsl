// linear_y: matrix of y
enable f16;
enable subgroups;
diagnostic(off, subgroup_uniformity);
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> y_2: array<f16>;
var<workgroup> tiles: array<vec4<u32>, 480>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(subgroup_invocation_id) subgroup_lane: u32, @builtin(subgroup_id) subgroup_index: u32) {
  let there = local_index < 32u;
  let line = local_index / 2u;
  let run = local_index % 2u;
  let column = run * 16u;
  let source = line * 8u + run * 2u;
  let target_ = line * 5u + (run * 16u / 8u + run * 16u / 8u / 8u);
  let line_1 = local_index / 16u * 8u + local_index % 8u;
  let in_slice = local_index / 8u % 2u;
  let outer = min(line_1, 31u);
  let target_1 = line_1 * 5u + 160u + (in_slice * 16u / 8u + in_slice * 16u / 8u / 8u);
  var sum = subgroup_matrix_result<f32, 16, 16>();
  var sum_1 = subgroup_matrix_result<f32, 16, 16>();
  let own_k = subgroup_index * 16u;
  let own = own_k / 8u + own_k / 8u / 8u;
  let own_k_1 = subgroup_index * 16u;
  let own_1 = own_k_1 / 8u + own_k_1 / 8u / 8u + 160u;
  let address = select(0u, source, there);
  let values = x[address];
  let values_1 = x[address + 1u];
  let piece = outer * 4u + in_slice;
  let stored = w[piece];
  let stored_1 = w[(piece >> 1u) + 128u];
  let group = outer + ((in_slice * 16u) >> 6u);
  let stored_2 = w[(group >> 1u) + 192u];
  let values_2 = select(vec4<u32>(0u, 0u, 0u, 0u), values, there);
  let values_3 = select(vec4<u32>(0u, 0u, 0u, 0u), values_1, there);
  let halves_4 = (values_2.x & 65535u) | (values_3.x << 16u);
  let halves_5 = (values_2.x >> 16u) | (values_3.x & 4294901760u);
  let halves_6 = (values_2.y & 65535u) | (values_3.y << 16u);
  let halves_7 = (values_2.y >> 16u) | (values_3.y & 4294901760u);
  let halves_8 = (values_2.z & 65535u) | (values_3.z << 16u);
  let halves_9 = (values_2.z >> 16u) | (values_3.z & 4294901760u);
  let halves_10 = (values_2.w & 65535u) | (values_3.w << 16u);
  let halves_11 = (values_2.w >> 16u) | (values_3.w & 4294901760u);
  if (there) {
    tiles[target_] = vec4<u32>(halves_4, halves_5, halves_6, halves_7);
    tiles[target_ + 1u] = vec4<u32>(halves_8, halves_9, halves_10, halves_11);
  }
  let piece_1 = outer * 4u + in_slice;
  let index_1 = stored_1 >> ((piece_1 & 1u) * 16u);
  let group_1 = outer + ((in_slice * 16u) >> 6u);
  let scale_5 = unpack2x16float((stored_2 >> ((group_1 & 1u) * 16u))).x;
  let codes_1 = stored >> 8u;
  let pair_4 = bitcast<vec2<f16>>((stored & 983055u) ^ 1678271496u) - vec2<f16>(1032.0h, 1032.0h);
  let scale_6 = f16(scale_5);
  let halves_12 = bitcast<u32>(pair_4 * vec2<f16>(scale_6, scale_6));
  let pair_5 = bitcast<vec2<f16>>((stored & 15728880u) ^ 1686135936u) * vec2<f16>(0.0625h, 0.0625h) - vec2<f16>(72.0h, 72.0h);
  let scale_7 = f16(scale_5);
  let halves_13 = bitcast<u32>(pair_5 * vec2<f16>(scale_7, scale_7));
  let pair_6 = bitcast<vec2<f16>>((codes_1 & 983055u) ^ 1678271496u) - vec2<f16>(1032.0h, 1032.0h);
  let scale_8 = f16(scale_5);
  let halves_14 = bitcast<u32>(pair_6 * vec2<f16>(scale_8, scale_8));
  let pair_7 = bitcast<vec2<f16>>((codes_1 & 15728880u) ^ 1686135936u) * vec2<f16>(0.0625h, 0.0625h) - vec2<f16>(72.0h, 72.0h);
  let scale_9 = f16(scale_5);
  let halves_15 = bitcast<u32>(pair_7 * vec2<f16>(scale_9, scale_9));
  let spread_1 = ((index_1 & 65535u) & 255u) | (((index_1 & 65535u) & 65280u) << 8u);
  let where_8 = (spread_1 & 65537u) * 65535u;
  let where_9 = ((spread_1 >> 1u) & 65537u) * 65535u;
  let where_10 = ((spread_1 >> 2u) & 65537u) * 65535u;
  let where_11 = ((spread_1 >> 3u) & 65537u) * 65535u;
  let columns_8 = halves_12 & ~(where_8 | where_9);
  let columns_9 = (halves_12 & where_8) | (halves_13 & (where_10 & ~where_11));
  let columns_10 = (halves_12 & where_9) | (halves_13 & (where_11 & ~where_10));
  let columns_11 = halves_13 & (where_10 & where_11);
  let where_12 = ((spread_1 >> 4u) & 65537u) * 65535u;
  let where_13 = ((spread_1 >> 5u) & 65537u) * 65535u;
  let where_14 = ((spread_1 >> 6u) & 65537u) * 65535u;
  let where_15 = ((spread_1 >> 7u) & 65537u) * 65535u;
  let columns_12 = halves_14 & ~(where_12 | where_13);
  let columns_13 = (halves_14 & where_12) | (halves_15 & (where_14 & ~where_15));
  let columns_14 = (halves_14 & where_13) | (halves_15 & (where_15 & ~where_14));
  let columns_15 = halves_15 & (where_14 & where_15);
  tiles[target_1] = vec4<u32>(columns_8, columns_9, columns_10, columns_11);
  tiles[target_1 + 1u] = vec4<u32>(columns_12, columns_13, columns_14, columns_15);
  workgroupBarrier();
  for (var slice: u32 = 0u; slice < 64u; slice += 32u) {
    let odd = slice / 32u % 2u;
    let next = slice + 32u;
    let there_1 = min(next, 32u);
    let address_1 = select(0u, source + there_1 / 8u, there);
    let values_4 = x[address_1];
    let values_5 = x[address_1 + 1u];
    let unit = there_1 / 16u + in_slice;
    let piece_2 = outer * 4u + unit;
    let stored_3 = w[piece_2];
    let stored_4 = w[(piece_2 >> 1u) + 128u];
    let group_2 = outer + ((unit * 16u) >> 6u);
    let stored_5 = w[(group_2 >> 1u) + 192u];
    let from_ = own + odd * 80u;
    let from_1 = own_1 + odd * 160u;
    let left = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tiles, from_, 5u);
    let right = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, from_1, 5u);
    sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
    let right_1 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, from_1 + 80u, 5u);
    sum_1 = subgroupMatrixMultiplyAccumulate(left, right_1, sum_1);
    if (next < 64u) {
      let other = (1u - odd) * 80u;
      let values_6 = select(vec4<u32>(0u, 0u, 0u, 0u), values_4, there);
      let values_7 = select(vec4<u32>(0u, 0u, 0u, 0u), values_5, there);
      let halves_20 = (values_6.x & 65535u) | (values_7.x << 16u);
      let halves_21 = (values_6.x >> 16u) | (values_7.x & 4294901760u);
      let halves_22 = (values_6.y & 65535u) | (values_7.y << 16u);
      let halves_23 = (values_6.y >> 16u) | (values_7.y & 4294901760u);
      let halves_24 = (values_6.z & 65535u) | (values_7.z << 16u);
      let halves_25 = (values_6.z >> 16u) | (values_7.z & 4294901760u);
      let halves_26 = (values_6.w & 65535u) | (values_7.w << 16u);
      let halves_27 = (values_6.w >> 16u) | (values_7.w & 4294901760u);
      if (there) {
        tiles[target_ + other] = vec4<u32>(halves_20, halves_21, halves_22, halves_23);
        tiles[target_ + other + 1u] = vec4<u32>(halves_24, halves_25, halves_26, halves_27);
      }
      let other_1 = (1u - odd) * 160u;
      let unit_1 = next / 16u + in_slice;
      let piece_3 = outer * 4u + unit_1;
      let index_3 = stored_4 >> ((piece_3 & 1u) * 16u);
      let group_3 = outer + ((unit_1 * 16u) >> 6u);
      let scale_15 = unpack2x16float((stored_5 >> ((group_3 & 1u) * 16u))).x;
      let codes_3 = stored_3 >> 8u;
      let pair_12 = bitcast<vec2<f16>>((stored_3 & 983055u) ^ 1678271496u) - vec2<f16>(1032.0h, 1032.0h);
      let scale_16 = f16(scale_15);
      let halves_28 = bitcast<u32>(pair_12 * vec2<f16>(scale_16, scale_16));
      let pair_13 = bitcast<vec2<f16>>((stored_3 & 15728880u) ^ 1686135936u) * vec2<f16>(0.0625h, 0.0625h) - vec2<f16>(72.0h, 72.0h);
      let scale_17 = f16(scale_15);
      let halves_29 = bitcast<u32>(pair_13 * vec2<f16>(scale_17, scale_17));
      let pair_14 = bitcast<vec2<f16>>((codes_3 & 983055u) ^ 1678271496u) - vec2<f16>(1032.0h, 1032.0h);
      let scale_18 = f16(scale_15);
      let halves_30 = bitcast<u32>(pair_14 * vec2<f16>(scale_18, scale_18));
      let pair_15 = bitcast<vec2<f16>>((codes_3 & 15728880u) ^ 1686135936u) * vec2<f16>(0.0625h, 0.0625h) - vec2<f16>(72.0h, 72.0h);
      let scale_19 = f16(scale_15);
      let halves_31 = bitcast<u32>(pair_15 * vec2<f16>(scale_19, scale_19));
      let spread_3 = ((index_3 & 65535u) & 255u) | (((index_3 & 65535u) & 65280u) << 8u);
      let where_24 = (spread_3 & 65537u) * 65535u;
      let where_25 = ((spread_3 >> 1u) & 65537u) * 65535u;
      let where_26 = ((spread_3 >> 2u) & 65537u) * 65535u;
      let where_27 = ((spread_3 >> 3u) & 65537u) * 65535u;
      let columns_24 = halves_28 & ~(where_24 | where_25);
      let columns_25 = (halves_28 & where_24) | (halves_29 & (where_26 & ~where_27));
      let columns_26 = (halves_28 & where_25) | (halves_29 & (where_27 & ~where_26));
      let columns_27 = halves_29 & (where_26 & where_27);
      let where_28 = ((spread_3 >> 4u) & 65537u) * 65535u;
      let where_29 = ((spread_3 >> 5u) & 65537u) * 65535u;
      let where_30 = ((spread_3 >> 6u) & 65537u) * 65535u;
      let where_31 = ((spread_3 >> 7u) & 65537u) * 65535u;
      let columns_28 = halves_30 & ~(where_28 | where_29);
      let columns_29 = (halves_30 & where_28) | (halves_31 & (where_30 & ~where_31));
      let columns_30 = (halves_30 & where_29) | (halves_31 & (where_31 & ~where_30));
      let columns_31 = halves_31 & (where_30 & where_31);
      tiles[target_1 + other_1] = vec4<u32>(columns_24, columns_25, columns_26, columns_27);
      tiles[target_1 + other_1 + 1u] = vec4<u32>(columns_28, columns_29, columns_30, columns_31);
    }
    workgroupBarrier();
  }
  let strip_start = subgroup_index * 144u;
  let first = subgroup_lane + subgroup_index * 32u;
  subgroupMatrixStore<row_major>(&tiles, strip_start, sum, 9u);
  let at = strip_start + 4u;
  subgroupMatrixStore<row_major>(&tiles, at, sum_1, 9u);
  workgroupBarrier();
  for (var element: u32 = first; element < 512u; element += 64u) {
    let row = element / 32u;
    let column_1 = element % 32u;
    if ((row < 16u) && (column_1 < 32u)) {
      let at_1 = row * 9u + column_1 / 4u;
      let which = column_1 % 4u;
      let four = tiles[at_1];
      let four_1 = tiles[at_1 + 144u];
      let sum_2 = bitcast<f32>(select(select(four.w, four.z, (which == 2u)), select(four.y, four.x, (which == 0u)), (which < 2u))) + bitcast<f32>(select(select(four_1.w, four_1.z, (which == 2u)), select(four_1.y, four_1.x, (which == 0u)), (which < 2u)));
      let t = row % 16u;
      let b = row / 16u;
      y_2[(b * 16u + t) * 32u + column_1] = f16(sum_2);
    }
  }
  workgroupBarrier();
}
