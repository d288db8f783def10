// gptq_w0_state: loops of w0_state

@group(0) @binding(0) var<storage, read> w0: array<f32>;
@group(0) @binding(1) var<storage, read_write> w0_state_11: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let position = workgroup_id.x * 64u + local_index;
  if (position < 16u) {
    let i1 = position % 8u;
    let i0 = position / 8u;
    w0_state_11[i0 * 8u + i1] = w0[i0 * 8u + i1];
  }
}

// gptq_w_block: block of w

@group(0) @binding(0) var<storage, read_write> w0_state_11: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> w_multipliers_12_10: array<f32>;
struct Parameters {
  kblock_step: i32,
  low: f32,
  high: f32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;
var<workgroup> w: array<f32, 16>;

// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}

@compute @workgroup_size(128, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let first = u32(parameters.kblock_step);
  let team = local_index / 32u;
  let lane = local_index % 32u;
  let row = workgroup_id.x * 4u + team;
  let inside = row < 2u;
  let row_1 = min(row, 1u);
  for (var element: u32 = lane; element < 4u; element += 32u) {
    if (inside && (first + element < 8u)) {
      w[team * 4u + element] = w0_state_11[row_1 * 8u + (first + element)];
    } else {
      w[team * 4u + element] = 0.0f;
    }
  }
  workgroupBarrier();
  let columns = min(8u - first, 4u);
  for (var column: u32 = 0u; column < columns; column += 1u) {
    let k = first + column;
    let q = min(max(round(total_divide(w[team * 4u + (k - first)], s[row_1 * 2u + k / 4u])), parameters.low), parameters.high) * s[row_1 * 2u + k / 4u];
    let e = total_divide(w[team * 4u + (k - first)] - q, u[k * 8u + k]);
    let multiplier = -e;
    if ((lane == 0u) && inside) {
      w_multipliers_12_10[row_1 * 4u + column] = multiplier;
    }
    workgroupBarrier();
    let end = min(8u, first + 4u);
    for (var j: u32 = k + lane; j < end; j += 32u) {
      if (j < 8u) {
        w[team * 4u + (j - first)] = w[team * 4u + (j - first)] + multiplier * u[k * 8u + j];
      }
    }
    let w_1 = q;
    workgroupBarrier();
    if (lane == 0u) {
      if (k < 8u) {
        w[team * 4u + (k - first)] = w_1;
      }
    }
    workgroupBarrier();
  }
  for (var element_1: u32 = lane; element_1 < 4u; element_1 += 32u) {
    if (inside && (first + element_1 < 8u)) {
      w0_state_11[row_1 * 8u + (first + element_1)] = w[team * 4u + element_1];
    }
  }
}

// gptq_w_after: loops of w_after

@group(0) @binding(0) var<storage, read> w_multipliers_12_10: array<f32>;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read_write> w0_state_11: array<f32>;
struct Parameters {
  kblock_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let position = workgroup_id.x * 64u + local_index;
  if (position < 8u) {
    let j = position % 4u;
    let n = position / 4u;
    var sum: f32 = 0.0f;
    for (var i: u32 = 0u; i < 4u; i += 1u) {
      sum = fma(w_multipliers_12_10[n * 4u + i], u[(u32(parameters.kblock_step) + i) * 8u + (j + 4u)], sum);
    }
    let at = j + 4u;
    if ((n < 2u) && (at < 8u)) {
      let place = n * 8u + at;
      w0_state_11[place] = w0_state_11[place] + sum;
    }
  }
}

// gptq_w_block: block of w

@group(0) @binding(0) var<storage, read_write> w0_state_11: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> w_multipliers_12_10: array<f32>;
struct Parameters {
  kblock_step: i32,
  low: f32,
  high: f32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;
var<workgroup> w: array<f32, 16>;

// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}

@compute @workgroup_size(128, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let first = u32(parameters.kblock_step);
  let team = local_index / 32u;
  let lane = local_index % 32u;
  let row = workgroup_id.x * 4u + team;
  let inside = row < 2u;
  let row_1 = min(row, 1u);
  for (var element: u32 = lane; element < 4u; element += 32u) {
    if (inside && (first + element < 8u)) {
      w[team * 4u + element] = w0_state_11[row_1 * 8u + (first + element)];
    } else {
      w[team * 4u + element] = 0.0f;
    }
  }
  workgroupBarrier();
  let columns = min(8u - first, 4u);
  for (var column: u32 = 0u; column < columns; column += 1u) {
    let k = first + column;
    let q = min(max(round(total_divide(w[team * 4u + (k - first)], s[row_1 * 2u + k / 4u])), parameters.low), parameters.high) * s[row_1 * 2u + k / 4u];
    let e = total_divide(w[team * 4u + (k - first)] - q, u[k * 8u + k]);
    let multiplier = -e;
    if ((lane == 0u) && inside) {
      w_multipliers_12_10[row_1 * 4u + column] = multiplier;
    }
    workgroupBarrier();
    let end = min(8u, first + 4u);
    for (var j: u32 = k + lane; j < end; j += 32u) {
      if (j < 8u) {
        w[team * 4u + (j - first)] = w[team * 4u + (j - first)] + multiplier * u[k * 8u + j];
      }
    }
    let w_1 = q;
    workgroupBarrier();
    if (lane == 0u) {
      if (k < 8u) {
        w[team * 4u + (k - first)] = w_1;
      }
    }
    workgroupBarrier();
  }
  for (var element_1: u32 = lane; element_1 < 4u; element_1 += 32u) {
    if (inside && (first + element_1 < 8u)) {
      w0_state_11[row_1 * 8u + (first + element_1)] = w[team * 4u + element_1];
    }
  }
}
