// linear_y: loops of y

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> y_2: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let position = workgroup_id.x * 64u + local_index;
  if (position < 6u) {
    let n = position % 6u;
    let b = position / 6u;
    var sum: f32 = 0.0f;
    for (var k: u32 = 0u; k < 128u; k += 1u) {
      let group = n * 32u + (k >> 2u);
      let position_1 = k & 3u;
      let index = w[(group >> 3u) + 48u] >> ((group & 7u) * 4u);
      let here = (index & 3u) == position_1;
      let here_1 = ((index >> 2u) & 3u) == position_1;
      let entry = group * 2u + select(select(0u, 1u, here_1), 0u, here);
      let group_1 = n + (k >> 7u);
      let scale = unpack2x16float((w[(group_1 >> 1u) + 72u] >> ((group_1 & 1u) * 16u))).x;
      sum = fma(x[b * 128u + k], select(0.0f, f32(bitcast<i32>((w[entry >> 3u] >> ((entry & 7u) * 4u)) << 28u) >> 28u) * scale, (here || here_1)), sum);
    }
    y_2[b * 6u + n] = sum;
  }
}
