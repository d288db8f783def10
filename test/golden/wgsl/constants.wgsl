// small: test of y

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;

// Keeps u32 constants from being folded, where folding is refused.
fn hide_u32(x: u32) -> u32 { return x; }

// Keeps i32 constants from being folded, where folding is refused.
fn hide_i32(x: i32) -> i32 { return x; }

// Keeps f32 constants from being folded, where folding is refused.
fn hide_f32(x: f32) -> f32 { return x; }

// Keeps bool constants from being folded, where folding is refused.
fn hide_bool(x: bool) -> bool { return x; }

// -infinity of zeros and what is flushed to them, infinity of itself, NaN of negative numbers and NaN.
fn total_log(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) < 0x800000u) {
    return bitcast<f32>(hide_u32(0xff800000u));
  }
  if (bits >= 0x7f800000u) {
    return bitcast<f32>(select(hide_u32(0x7fc00000u), bits, bits == 0x7f800000u));
  }
  return log(x);
}

// NaN of NaN.
fn total_exp(x: f32) -> f32 {
  return select(exp(x), x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}

fn total_exp_2(x: vec2<f32>) -> vec2<f32> { return vec2<f32>(total_exp(x.x), total_exp(x.y)); }

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let i = local_index;
  let x = input[i];
  let n = i32(x);
  let b = x < 2.0f;
  let v0 = bitcast<f32>(hide_u32(0x7f800000u));
  let v1 = bitcast<f32>(hide_u32(0xff800000u));
  let v2 = bitcast<f32>(hide_u32(0x7fc00000u));
  let v3 = bitcast<f32>(hide_u32(0x80000000u));
  let v4 = 3.4028234663852886e+38f;
  let v5 = bitcast<f32>(0x00000001u);
  let v6 = i32(-2147483648);
  let v7 = 4294967295u;
  let v8 = 16777216.0f;
  let v9 = 1e-7f;
  let v10 = 1e+21f;
  let v11 = i / hide_u32(0u);
  let v12 = n / hide_i32(0i);
  let v13 = hide_f32(1.0f) / hide_f32(0.0f);
  let v14 = vec2<u32>(i, i) / vec2<u32>(hide_u32(1u), hide_u32(0u));
  let v15 = i % hide_u32(0u);
  let v16 = i << 3u;
  let v17 = hide_u32(4294967295u) << hide_u32(4u);
  let v18 = hide_f32(1e+38f) * hide_f32(10.0f);
  let v19 = total_log(hide_f32(-1.0f));
  let v20 = sqrt(hide_f32(-1.0f));
  let v21 = clamp(x, hide_f32(2.0f), hide_f32(1.0f));
  let v22 = fma(hide_f32(1e+38f), hide_f32(10.0f), hide_f32(0.0f));
  let v23 = bitcast<f32>(hide_u32(2143289344u));
  let v24 = i32(hide_f32(100000000000000000000.0f));
  let v25 = unpack2x16float(hide_u32(2080406528u));
  let v26 = total_exp_2(vec2<f32>(hide_f32(1000.0f), hide_f32(1000.0f)));
  let v27 = -hide_f32(-1.0f);
  let v28 = vec2<f32>(1.0f, x).x;
  let v29 = select(hide_f32(0.0f), hide_f32(1.0f), hide_bool(true));
  let v30 = i << vec2<u32>(0u, 3u).y;
  let v31 = i / vec2<u32>(hide_u32(1u), hide_u32(0u)).y;
  output[0u] = 1.0f;
}
