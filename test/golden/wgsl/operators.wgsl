// small: test of y

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;

// Keeps u32 constants from being folded, where folding is refused.
fn hide_u32(x: u32) -> u32 { return x; }

// 1 for y = 0, NaN of NaN and negative x, and the limits of zeros and infinity.
fn total_power(x: f32, y: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  if ((bitcast<u32>(y) & 0x7fffffffu) < 0x800000u) {
    return 1.0f;
  }
  if (size > 0x7f800000u || (bitcast<u32>(y) & 0x7fffffffu) > 0x7f800000u) {
    return bitcast<f32>(hide_u32(0x7fc00000u));
  }
  if (size < 0x800000u) {
    return bitcast<f32>(select(hide_u32(0x7f800000u), 0u, y > 0.0f));
  }
  if (bits != size) {
    return bitcast<f32>(hide_u32(0x7fc00000u));
  }
  if (size == 0x7f800000u) {
    return bitcast<f32>(select(0u, bits, y > 0.0f));
  }
  return pow(x, y);
}

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let i = local_index;
  let x = input[i];
  let n = i32(x);
  let b = x < 2.0f;
  let v0 = x * 2.0f + x * 3.0f;
  let v1 = (x + 1.0f) * (x - 1.0f);
  let v2 = x - (x - 1.0f);
  let v3 = x - 1.0f - 2.0f;
  let v4 = x * (x * 2.0f);
  let v5 = -(x + 1.0f);
  let v6 = x;
  let v7 = x - -1.0f;
  let v8 = -(n * 2i);
  let v9 = -(-x);
  let v10 = (i << 2u) + ((i & 7u) >> 1u);
  let v11 = !(x < 1.0f);
  let v12 = (x < 1.0f) && (b || !b);
  let v13 = (b && b) || (b && (i < 3u));
  let v14 = select(0.0f, x, ((x < 1.0f) && (x > -1.0f)));
  let v15 = select(0.0f, select(1.0f, x, (x > 2.0f)), (x < 1.0f));
  let v16 = clamp(x, 0.0f, 1.0f);
  let v17 = select((x > x + 1.0f), (x < 1.0f), b);
  let v18 = vec2<bool>((x < 1.0f), (x > x + 1.0f));
  let v19 = total_power(x, 2.0f);
  let v20 = n % 3i;
  let v21 = ~i;
  let v22 = i + 1u < i * 2u;
  let v23 = vec2<bool>(b, b) & (vec2<f32>(x, x) < vec2<f32>(1.0f, 1.0f));
  let v24 = (vec3<f32>(x, x, x) + vec3<f32>(1.0f, 1.0f, 1.0f)).z;
  let v25 = select(vec4<f32>(x, x, x, x), vec4<f32>(x, x, x, x), (vec4<f32>(x, x, x, x) < vec4<f32>(0.0f, 0.0f, 0.0f, 0.0f)));
  output[0u] = 1.0f;
}
