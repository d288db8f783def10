// mixture_y: tiled of y

@group(0) @binding(0) var<storage, read> p: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read_write> y_2: array<f32>;
var<workgroup> left_tile: array<f32, 64>;
var<workgroup> right_tile_0: array<f32, 2048>;

@compute @workgroup_size(128, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let tile_m = workgroup_id.x % 2u;
  let batch = workgroup_id.x / 2u;
  let first_m = tile_m * 2u;
  let thread_n = local_index % 64u;
  let thread_m = local_index / 64u;
  var acc: f32 = 0.0f;
  let m = min(first_m + 1u, 2u);
  let to = m + 1u;
  let end = min(to, 5u);
  for (var slice: u32 = 0u; slice < end; slice += 32u) {
    for (var at: u32 = local_index; at < 64u; at += 128u) {
      let kk = at % 32u;
      let m_1 = at / 32u;
      let column = slice + kk;
      let token = first_m + m_1;
      var left: f32 = 0.0f;
      if ((token < 3u) && (column < end)) {
        if (column < token + 1u) {
          left = p[token * 5u + column];
        }
      }
      left_tile[kk * 2u + m_1] = left;
    }
    for (var at_1: u32 = local_index; at_1 < 2048u; at_1 += 128u) {
      let kk_1 = at_1 / 64u;
      let n = at_1 % 64u;
      let column_1 = slice + kk_1;
      var right: f32 = 0.0f;
      if ((n < 7u) && (column_1 < end)) {
        right = v[column_1 * 7u + n];
      }
      right_tile_0[kk_1 * 64u + n] = right;
    }
    workgroupBarrier();
    for (var kk_2: u32 = 0u; kk_2 < 32u; kk_2 += 1u) {
      let a = left_tile[kk_2 * 2u + thread_m];
      let b = right_tile_0[kk_2 * 64u + thread_n];
      acc = fma(a, b, acc);
    }
    workgroupBarrier();
  }
  let m_2 = first_m + thread_m;
  if ((m_2 < 3u) && (thread_n < 7u)) {
    y_2[m_2 * 7u + thread_n] = acc;
  }
}
