// mask_2of4_keep: rows of keep

@group(0) @binding(0) var<storage, read> score: array<f32>;
@group(0) @binding(1) var<storage, read_write> keep_1: array<u32>;
var<workgroup> partial_: array<u32, 256>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3<u32>) {
  let k = workgroup_id.x % 8u;
  let i0 = workgroup_id.x / 8u;
  var count: u32 = 0u;
  let end = k / 4u * 4u + 4u;
  for (var j: u32 = k / 4u * 4u + local_index; j < end; j += 256u) {
    count = count + select(0u, 1u, select(((score[i0 * 8u + j] > score[i0 * 8u + k]) || ((score[i0 * 8u + j] == score[i0 * 8u + k]) && (i32(j) < i32(k)))), (!((bitcast<u32>(score[i0 * 8u + j]) & 2147483647u) > 2139095040u) || (i32(j) < i32(k))), ((bitcast<u32>(score[i0 * 8u + k]) & 2147483647u) > 2139095040u)));
  }
  partial_[local_index] = count;
  workgroupBarrier();
  if (local_index < 128u) {
    let other = partial_[local_index + 128u];
    count = count + other;
    partial_[local_index] = count;
  }
  workgroupBarrier();
  if (local_index < 64u) {
    let other_1 = partial_[local_index + 64u];
    count = count + other_1;
    partial_[local_index] = count;
  }
  workgroupBarrier();
  if (local_index < 32u) {
    let other_2 = partial_[local_index + 32u];
    count = count + other_2;
    partial_[local_index] = count;
  }
  workgroupBarrier();
  if (local_index < 16u) {
    let other_3 = partial_[local_index + 16u];
    count = count + other_3;
    partial_[local_index] = count;
  }
  workgroupBarrier();
  if (local_index < 8u) {
    let other_4 = partial_[local_index + 8u];
    count = count + other_4;
    partial_[local_index] = count;
  }
  workgroupBarrier();
  if (local_index < 4u) {
    let other_5 = partial_[local_index + 4u];
    count = count + other_5;
    partial_[local_index] = count;
  }
  workgroupBarrier();
  if (local_index < 2u) {
    let other_6 = partial_[local_index + 2u];
    count = count + other_6;
    partial_[local_index] = count;
  }
  workgroupBarrier();
  if (local_index < 1u) {
    let other_7 = partial_[local_index + 1u];
    count = count + other_7;
    partial_[local_index] = count;
  }
  workgroupBarrier();
  let other_8 = partial_[0u];
  count = other_8;
  workgroupBarrier();
  let count_1 = i32(count);
  if (local_index == 0u) {
    keep_1[i0 * 8u + k] = select(0u, 1u, (count_1 < 2i));
  }
}
