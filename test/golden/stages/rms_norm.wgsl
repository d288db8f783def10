// rms_norm_y: rows of y
enable subgroups;
diagnostic(off, subgroup_uniformity);

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read_write> y_3: array<f32>;
struct Parameters {
  eps: f32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;
var<workgroup> partial_: array<f32, 2>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let t = workgroup_id.x % 2u;
  let b = workgroup_id.x / 2u;
  var mean: f32 = 0.0f;
  for (var d: u32 = local_index; d < 64u; d += 64u) {
    mean = fma(x[(b * 2u + t) * 64u + d], x[(b * 2u + t) * 64u + d], mean);
  }
  mean = subgroupAdd(mean);
  if (local_index % 32u == 0u) {
    partial_[local_index / 32u] = mean;
  }
  workgroupBarrier();
  let other = partial_[0u];
  mean = other;
  let other_1 = partial_[1u];
  mean = mean + other_1;
  workgroupBarrier();
  let mean_1 = mean / 64.0f;
  for (var element: u32 = local_index; element < 64u; element += 64u) {
    y_3[(b * 2u + t) * 64u + element] = x[(b * 2u + t) * 64u + element] * inverseSqrt(mean_1 + parameters.eps) * gain[element];
  }
}
