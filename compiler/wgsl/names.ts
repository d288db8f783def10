/** Names in WGSL: what the emitter may not use as it stands. */

/**
 * Keywords, reserved words, and the predeclared names that the emitter itself writes or that a shadow would confuse.
 */
const taken: ReadonlySet<string> = new Set(
  (
    "alias break case const const_assert continue continuing default diagnostic discard else enable false fn for if let loop override requires return struct switch true var while " +
    "NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await become cast catch class co_await co_return co_yield coherent column_major common compile compile_fragment " +
    "concept const_cast consteval constexpr constinit crate debugger decltype delete demote demote_to_helper do dynamic_cast enum explicit export extends extern external fallthrough filter final finally " +
    "friend from fxgroup get goto groupshared highp impl implements import inline instanceof interface layout lowp macro macro_rules match mediump meta mod module move mut mutable namespace new nil noexcept " +
    "noinline nointerpolation non_coherent noncoherent noperspective null nullptr of operator package packoffset partial pass patch pixelfragment precise precision premerge priv protected pub public " +
    "readonly ref regardless register reinterpret_cast require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std subroutine super target template this thread_local " +
    "throw trait try type typedef typeid typename typeof union unless unorm unsafe unsized use using varying virtual volatile wgsl where with writeonly yield " +
    "f32 f16 i32 u32 bool vec2 vec3 vec4 array atomic ptr " +
    "select bitcast abs sign sqrt inverseSqrt exp log sin cos tanh floor ceil round pow min max fma dot clamp unpack2x16float pack2x16float dot4I8Packed countOneBits " +
    "subgroupAdd subgroupMax subgroupMin subgroupBroadcastFirst subgroupShuffle subgroupShuffleXor workgroupBarrier " +
    "function private workgroup uniform storage read write read_write " +
    "main parameters Parameters global_id local_id local_index workgroup_id subgroup_lane subgroup_index subgroup_size"
  ).split(" "),
);

const helper = /^(hide_|round_f16|total_|turn_digits)/;

/** Gives each of the names, which are distinct, a name that is free in WGSL; itself where possible. */
export function wgslNames(names: Iterable<string>): ReadonlyMap<string, string> {
  const all = [...names];
  const used = new Set(all);
  const result = new Map<string, string>();
  for (const name of all) {
    let free = name;
    if (taken.has(name) || helper.test(name) || name === "_" || name.startsWith("__")) {
      do free = helper.test(free) || free.startsWith("_") ? `v_${free}` : `${free}_`;
      while (used.has(free) || taken.has(free));
      used.add(free);
    }
    result.set(name, free);
  }
  return result;
}
