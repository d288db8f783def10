// linear_y: matvec of y

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y_2: array<f32>;

@compute @workgroup_size(16, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let team = workgroup_id.x * 16u + local_index;
  let team_at = min(team, 5u);
  let n = min(team_at, 5u);
  var acc: f32 = 0.0f;
  for (var unit: u32 = 0u; unit < 2u; unit += 1u) {
    let column = unit * 8u;
    let unit_1 = n * 2u + unit;
    let values = w[unit_1];
    let group = n * 2u + ((unit * 8u) >> 3u);
    let scale = unpack2x16float((w[(group >> 1u) + 12u] >> ((group & 1u) * 16u))).x;
    let w_1 = f32(bitcast<i32>(values << 28u) >> 28u);
    let w_2 = f32(bitcast<i32>(values << 24u) >> 28u);
    let w_3 = f32(bitcast<i32>(values << 20u) >> 28u);
    let w_4 = f32(bitcast<i32>(values << 16u) >> 28u);
    let w_5 = f32(bitcast<i32>(values << 12u) >> 28u);
    let w_6 = f32(bitcast<i32>(values << 8u) >> 28u);
    let w_7 = f32(bitcast<i32>(values << 4u) >> 28u);
    let w_8 = f32(bitcast<i32>(values) >> 28u);
    var partial_: f32 = 0.0f;
    let x_at = column / 4u;
    let x4 = x[x_at];
    let x4_1 = x[x_at + 1u];
    partial_ = fma(w_1, x4.x, partial_);
    partial_ = fma(w_2, x4.y, partial_);
    partial_ = fma(w_3, x4.z, partial_);
    partial_ = fma(w_4, x4.w, partial_);
    partial_ = fma(w_5, x4_1.x, partial_);
    partial_ = fma(w_6, x4_1.y, partial_);
    partial_ = fma(w_7, x4_1.z, partial_);
    partial_ = fma(w_8, x4_1.w, partial_);
    acc = fma(partial_, scale, acc);
  }
  if (team < 6u) {
    y_2[n] = acc;
  }
}
