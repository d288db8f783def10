// matvec: matvec of y, z w
enable f16;
enable subgroups;
diagnostic(off, subgroup_uniformity);

@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<f16>;
@group(0) @binding(2) var<storage, read> activations: array<vec2<f16>>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;
struct Parameters {
  factor: f32,
  from_: u32,
}
@group(1) @binding(0) var<uniform> parameters: Parameters;
var<workgroup> partial_: array<f32, 64>;
var<workgroup> shared_: array<vec2<f16>, 64>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let row = workgroup_id.x;
  for (var k: u32 = 0u; k < 4u; k += 1u) {
    shared_[local_index] = activations[k * 64u + local_index];
    workgroupBarrier();
    var sum: f32 = 0.0f;
    if ((local_index < 16u) && (row < 128u)) {
      let quad = weights[row * 16u + local_index];
      let pair = bitcast<vec2<f16>>(((quad.y >> 4u) & 983055u) + 1677747200u);
      let centred = pair - vec2<f16>(1032.0h, 1032.0h);
      sum = sum + f32(dot(centred, shared_[local_index]));
    }
    let total = subgroupAdd(sum);
    partial_[local_index] = total;
    workgroupBarrier();
    if (local_index < 1u) {
      result[row] = fma(partial_[0u] * f32(scales[row]), parameters.factor, f32(parameters.from_));
    } else if (local_index < 2u) {
      sum = 0.0f;
    } else {
      sum = 1.0f;
    }
    workgroupBarrier();
  }
}
