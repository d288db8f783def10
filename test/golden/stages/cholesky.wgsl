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
struct Parameters {
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;
var<workgroup> tile: array<f32, 1024>;

// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}

@compute @workgroup_size(32, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let first = u32(parameters.block_step);
  let count = min(40u - first, 32u);
  for (var element: u32 = local_index; element < count * 32u; element += 32u) {
    let i = element / 32u;
    let j = element % 32u;
    if (j <= i) {
      tile[i * 32u + j] = l_1[(first + i) * 40u + (first + j)];
    }
  }
  workgroupBarrier();
  for (var j_1: u32 = 0u; j_1 < count; j_1 += 1u) {
    let pivot = tile[j_1 * 32u + j_1];
    let positive = pivot > 0.0f;
    let root = sqrt(select(1.0f, pivot, positive));
    workgroupBarrier();
    for (var i_1: u32 = j_1 + local_index; i_1 < count; i_1 += 32u) {
      let value = total_divide(tile[i_1 * 32u + j_1], root);
      tile[i_1 * 32u + j_1] = select(select(0.0f, value, positive), select(pivot, root, positive), (i_1 == j_1));
    }
    workgroupBarrier();
    for (var i_2: u32 = j_1 + 1u + local_index; i_2 < count; i_2 += 32u) {
      let factor = tile[i_2 * 32u + j_1];
      for (var m: u32 = j_1 + 1u; m < i_2 + 1u; m += 1u) {
        tile[i_2 * 32u + m] = tile[i_2 * 32u + m] - factor * tile[m * 32u + j_1];
      }
    }
    workgroupBarrier();
  }
  for (var element_1: u32 = local_index; element_1 < count * 32u; element_1 += 32u) {
    let i_3 = element_1 / 32u;
    let j_2 = element_1 % 32u;
    if (j_2 <= i_3) {
      l_1[(first + i_3) * 40u + (first + j_2)] = tile[i_3 * 32u + j_2];
    }
  }
}

// factor_l_panel: factor of l

@group(0) @binding(0) var<storage, read_write> l_1: array<f32>;
@group(0) @binding(1) var<storage, read_write> l_panel_2_1: array<f32>;
struct Parameters {
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;

// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let first = u32(parameters.block_step);
  let row = first + 32u + (workgroup_id.x * 64u + local_index);
  if (row < 40u) {
    let mine = row * 40u + first;
    let kept = row * 32u;
    for (var j: u32 = 0u; j < 32u; j += 1u) {
      let theirs = (first + j) * 40u + first;
      var sum: f32 = l_1[mine + j];
      for (var m: u32 = 0u; m < j; m += 1u) {
        sum = sum - l_panel_2_1[kept + m] * l_1[theirs + m];
      }
      let pivot = l_1[theirs + j];
      let value = select(0.0f, total_divide(sum, select(1.0f, pivot, (pivot > 0.0f))), (pivot > 0.0f));
      l_1[mine + j] = value;
      l_panel_2_1[kept + j] = value;
    }
  }
}

// factor_l_rest: loops of l_rest

@group(0) @binding(0) var<storage, read> l_panel_2_1: array<f32>;
@group(0) @binding(1) var<storage, read_write> l_1: array<f32>;
struct Parameters {
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let position = workgroup_id.x * 64u + local_index;
  if (position < 64u) {
    let j = position % 8u;
    let i = position / 8u;
    if ((j + 32u >= u32(parameters.block_step) + 32u) && (j + 32u < i + 33u)) {
      var sum: f32 = 0.0f;
      for (var m: u32 = 0u; m < 32u; m += 1u) {
        sum = fma(l_panel_2_1[(i + 32u) * 32u + m], l_panel_2_1[(j + 32u) * 32u + m], sum);
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
struct Parameters {
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;
var<workgroup> tile: array<f32, 1024>;

// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}

@compute @workgroup_size(32, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let first = u32(parameters.block_step);
  let count = min(40u - first, 32u);
  for (var element: u32 = local_index; element < count * 32u; element += 32u) {
    let i = element / 32u;
    let j = element % 32u;
    if (j <= i) {
      tile[i * 32u + j] = l_1[(first + i) * 40u + (first + j)];
    }
  }
  workgroupBarrier();
  for (var j_1: u32 = 0u; j_1 < count; j_1 += 1u) {
    let pivot = tile[j_1 * 32u + j_1];
    let positive = pivot > 0.0f;
    let root = sqrt(select(1.0f, pivot, positive));
    workgroupBarrier();
    for (var i_1: u32 = j_1 + local_index; i_1 < count; i_1 += 32u) {
      let value = total_divide(tile[i_1 * 32u + j_1], root);
      tile[i_1 * 32u + j_1] = select(select(0.0f, value, positive), select(pivot, root, positive), (i_1 == j_1));
    }
    workgroupBarrier();
    for (var i_2: u32 = j_1 + 1u + local_index; i_2 < count; i_2 += 32u) {
      let factor = tile[i_2 * 32u + j_1];
      for (var m: u32 = j_1 + 1u; m < i_2 + 1u; m += 1u) {
        tile[i_2 * 32u + m] = tile[i_2 * 32u + m] - factor * tile[m * 32u + j_1];
      }
    }
    workgroupBarrier();
  }
  for (var element_1: u32 = local_index; element_1 < count * 32u; element_1 += 32u) {
    let i_3 = element_1 / 32u;
    let j_2 = element_1 % 32u;
    if (j_2 <= i_3) {
      l_1[(first + i_3) * 40u + (first + j_2)] = tile[i_3 * 32u + j_2];
    }
  }
}

// factor_l_panel: factor of l

@group(0) @binding(0) var<storage, read_write> l_1: array<f32>;
@group(0) @binding(1) var<storage, read_write> l_panel_2_1: array<f32>;
struct Parameters {
  block_step: i32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;

// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let first = u32(parameters.block_step);
  let row = first + 32u + (workgroup_id.x * 64u + local_index);
  if (row < 40u) {
    let mine = row * 40u + first;
    let kept = row * 32u;
    for (var j: u32 = 0u; j < 32u; j += 1u) {
      let theirs = (first + j) * 40u + first;
      var sum: f32 = l_1[mine + j];
      for (var m: u32 = 0u; m < j; m += 1u) {
        sum = sum - l_panel_2_1[kept + m] * l_1[theirs + m];
      }
      let pivot = l_1[theirs + j];
      let value = select(0.0f, total_divide(sum, select(1.0f, pivot, (pivot > 0.0f))), (pivot > 0.0f));
      l_1[mine + j] = value;
      l_panel_2_1[kept + j] = value;
    }
  }
}
