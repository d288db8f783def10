// factor_l: loops of l

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> l_1: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let position = workgroup_id.x * 64u + local_index;
  if (position < 1600u) {
    let j = position % 40u;
    let i = position / 40u;
    l_1[i * 40u + j] = select(0.0f, a[i * 40u + j], (i32(j) <= i32(i)));
  }
}

// factor_l_diagonal: factor of l

@group(0) @binding(0) var<storage, read_write> l_1: array<f32>;
@group(0) @binding(1) var<storage, read_write> l_inverse_2_1: array<f32>;
struct Parameters {
  panel_step: i32,
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;
var<workgroup> tile: array<f32, 1056>;

// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let first = u32(parameters.panel_step) + u32(parameters.block_step);
  let count = min(40u - first, 32u);
  let row = local_index / 32u;
  let column = local_index % 32u;
  for (var i: u32 = row; i < 32u; i += 8u) {
    var value: f32 = 0.0f;
    if ((column <= i) && (i < count)) {
      value = l_1[(first + i) * 40u + (first + column)];
    }
    tile[i * 33u + column] = value;
  }
  workgroupBarrier();
  for (var j: u32 = 0u; j < count; j += 1u) {
    let pivot = tile[j * 33u + j];
    let reciprocal = select(0.0f, 1.0f / select(1.0f, pivot, (pivot > 0.0f)), (pivot > 0.0f));
    let row_1 = local_index / 32u;
    let column_1 = local_index % 32u;
    for (var i_1: u32 = j + 1u + row_1; i_1 < count; i_1 += 8u) {
      if (column_1 <= j) {
        tile[column_1 * 33u + i_1] = tile[column_1 * 33u + i_1] - tile[i_1 * 33u + j] * reciprocal * select(tile[column_1 * 33u + j], 1.0f, (column_1 == j));
      } else if (column_1 <= i_1) {
        tile[i_1 * 33u + column_1] = tile[i_1 * 33u + column_1] - tile[i_1 * 33u + j] * reciprocal * tile[column_1 * 33u + j];
      }
    }
    workgroupBarrier();
  }
  let row_2 = local_index / 32u;
  let column_2 = local_index % 32u;
  for (var i_2: u32 = row_2; i_2 < count; i_2 += 8u) {
    if (column_2 < count) {
      let pivot_1 = tile[column_2 * 33u + column_2];
      if (column_2 <= i_2) {
        l_1[(first + i_2) * 40u + (first + column_2)] = select(select(0.0f, total_divide(tile[i_2 * 33u + column_2], sqrt(select(1.0f, pivot_1, (pivot_1 > 0.0f)))), (pivot_1 > 0.0f)), select(pivot_1, sqrt(select(1.0f, pivot_1, (pivot_1 > 0.0f))), (pivot_1 > 0.0f)), (i_2 == column_2));
      }
      l_inverse_2_1[i_2 * 32u + column_2] = select(0.0f, select(0.0f, total_divide(select(tile[i_2 * 33u + column_2], 1.0f, (i_2 == column_2)), sqrt(select(1.0f, pivot_1, (pivot_1 > 0.0f)))), (pivot_1 > 0.0f)), (i_2 <= column_2));
    }
  }
}

// factor_l_columns: loops of l_columns

@group(0) @binding(0) var<storage, read> l_1: array<f32>;
@group(0) @binding(1) var<storage, read> l_inverse_2_1: array<f32>;
@group(0) @binding(2) var<storage, read_write> l_columns_3_1: array<f32>;
struct Parameters {
  panel_step: i32,
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let position = workgroup_id.x * 64u + local_index;
  if (position < 256u) {
    let j = position % 32u;
    let i = position / 32u;
    var sum: f32 = 0.0f;
    for (var m: u32 = 0u; m < 32u; m += 1u) {
      sum = fma(l_1[(i + 32u) * 40u + (u32(parameters.panel_step) + u32(parameters.block_step) + m)], l_inverse_2_1[m * 32u + j], sum);
    }
    let at = i + 32u;
    if ((at < 40u) && (j < 32u)) {
      let place = at * 32u + j;
      l_columns_3_1[place] = sum;
    }
  }
}

// factor_l_placed: factor of l

@group(0) @binding(0) var<storage, read> l_columns_3_1: array<f32>;
@group(0) @binding(1) var<storage, read_write> l_1: array<f32>;
@group(0) @binding(2) var<storage, read_write> l_across_4_1: array<f32>;
struct Parameters {
  panel_step: i32,
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let first = u32(parameters.panel_step) + u32(parameters.block_step);
  let in_panel = u32(parameters.block_step);
  let element = workgroup_id.x * 256u + local_index;
  let row = first + 32u + element / 32u;
  let column = element % 32u;
  if (row < 40u) {
    let value = l_columns_3_1[row * 32u + column];
    l_1[row * 40u + (first + column)] = value;
    l_across_4_1[(in_panel + column) * 40u + row] = value;
  }
}

// factor_l_rest: loops of l_rest

@group(0) @binding(0) var<storage, read> l_across_4_1: array<f32>;
@group(0) @binding(1) var<storage, read_write> l_1: array<f32>;
struct Parameters {
  panel_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let position = workgroup_id.x * 64u + local_index;
  if (position < 64u) {
    let j = position % 8u;
    let i = position / 8u;
    if ((j + 32u >= u32(parameters.panel_step) + 32u) && (j + 32u < i + 33u)) {
      var sum: f32 = 0.0f;
      for (var m: u32 = 0u; m < 32u; m += 1u) {
        sum = fma(l_across_4_1[m * 40u + (i + 32u)], l_across_4_1[m * 40u + (j + 32u)], sum);
      }
      let at = i + 32u;
      let at_1 = j + 32u;
      if ((at < 40u) && (at_1 < 40u)) {
        let place = at * 40u + at_1;
        l_1[place] = l_1[place] + -sum;
      }
    }
  }
}

// factor_l_diagonal: factor of l

@group(0) @binding(0) var<storage, read_write> l_1: array<f32>;
@group(0) @binding(1) var<storage, read_write> l_inverse_2_1: array<f32>;
struct Parameters {
  panel_step: i32,
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;
var<workgroup> tile: array<f32, 1056>;

// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let first = u32(parameters.panel_step) + u32(parameters.block_step);
  let count = min(40u - first, 32u);
  let row = local_index / 32u;
  let column = local_index % 32u;
  for (var i: u32 = row; i < 32u; i += 8u) {
    var value: f32 = 0.0f;
    if ((column <= i) && (i < count)) {
      value = l_1[(first + i) * 40u + (first + column)];
    }
    tile[i * 33u + column] = value;
  }
  workgroupBarrier();
  for (var j: u32 = 0u; j < count; j += 1u) {
    let pivot = tile[j * 33u + j];
    let reciprocal = select(0.0f, 1.0f / select(1.0f, pivot, (pivot > 0.0f)), (pivot > 0.0f));
    let row_1 = local_index / 32u;
    let column_1 = local_index % 32u;
    for (var i_1: u32 = j + 1u + row_1; i_1 < count; i_1 += 8u) {
      if (column_1 <= j) {
        tile[column_1 * 33u + i_1] = tile[column_1 * 33u + i_1] - tile[i_1 * 33u + j] * reciprocal * select(tile[column_1 * 33u + j], 1.0f, (column_1 == j));
      } else if (column_1 <= i_1) {
        tile[i_1 * 33u + column_1] = tile[i_1 * 33u + column_1] - tile[i_1 * 33u + j] * reciprocal * tile[column_1 * 33u + j];
      }
    }
    workgroupBarrier();
  }
  let row_2 = local_index / 32u;
  let column_2 = local_index % 32u;
  for (var i_2: u32 = row_2; i_2 < count; i_2 += 8u) {
    if (column_2 < count) {
      let pivot_1 = tile[column_2 * 33u + column_2];
      if (column_2 <= i_2) {
        l_1[(first + i_2) * 40u + (first + column_2)] = select(select(0.0f, total_divide(tile[i_2 * 33u + column_2], sqrt(select(1.0f, pivot_1, (pivot_1 > 0.0f)))), (pivot_1 > 0.0f)), select(pivot_1, sqrt(select(1.0f, pivot_1, (pivot_1 > 0.0f))), (pivot_1 > 0.0f)), (i_2 == column_2));
      }
      l_inverse_2_1[i_2 * 32u + column_2] = select(0.0f, select(0.0f, total_divide(select(tile[i_2 * 33u + column_2], 1.0f, (i_2 == column_2)), sqrt(select(1.0f, pivot_1, (pivot_1 > 0.0f)))), (pivot_1 > 0.0f)), (i_2 <= column_2));
    }
  }
}
