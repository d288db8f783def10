import type { BinaryOp, UnaryOp } from "../types/scalar-ops.js";

/**
 * How it runs: one compute kernel. Effect-free expressions beside effectful statements; scalars, short vectors and
 * words, no tensors or formats left. Names are unique within a kernel. Every `store` goes to a buffer of access
 * "read_write". Barriers stand in control flow that the whole workgroup shares, subgroup operations in such that each
 * subgroup shares (the verifier holds it). The second operand of a scalar `and` or `or` is skipped where the first
 * decides.
 */
export interface Kernel {
  readonly name: string;
  /** Invocations a workgroup. */
  readonly workgroupSize: readonly [number, number, number];
  /** Workgroups of the dispatch; each at most 65535. */
  readonly workgroups: readonly [number, number, number];
  readonly buffers: readonly KernelBuffer[];
  /** Scalars given at each run, in a uniform block, in this order. */
  readonly parameters: readonly { readonly name: string; readonly type: "f32" | "i32" | "u32" }[];
  /** Workgroup memory. Not initialised: a read before a write is an error. */
  readonly arrays: readonly KernelArray[];
  readonly features: readonly KernelFeature[];
  readonly body: readonly Statement[];
  /** Which schedule made it, and of what: for people, goldens and tests ("matvec", "tiled", "pointwise", ...). */
  readonly origin: { readonly schedule: string; readonly values: readonly string[] };
}

/** What a kernel needs of a device beyond plain WGSL. `matrices`: products of small matrices by a subgroup at once. */
export type KernelFeature = "f16" | "subgroups" | "matrices";

export { matrixSize } from "../target.js";

/** What a matrix is in a product: `left` and `right` hold f16, the `result` f32. */
export type MatrixRole = "left" | "right" | "result";

/**
 * A view of a tensor's memory. Several read-only views of one tensor may differ in element type (words, vec4 of words).
 */
export interface KernelBuffer {
  readonly name: string;
  /** Name of the tensor in the fused graph whose memory this is. */
  readonly tensor: string;
  readonly element: KernelType;
  readonly access: "read" | "read_write";
  /** In elements. */
  readonly length: number;
}

/** Workgroup memory; length in elements. */
export interface KernelArray {
  readonly name: string;
  readonly element: KernelType;
  readonly length: number;
}

export type ScalarType = "f32" | "f16" | "i32" | "u32" | "bool";
export type VectorType = `vec${2 | 3 | 4}<${ScalarType}>`;
export type KernelType = ScalarType | VectorType;

export type Builtin =
  | "global_id.x"
  | "global_id.y"
  | "global_id.z"
  | "local_id.x"
  | "local_id.y"
  | "local_id.z"
  | "local_index"
  | "workgroup_id.x"
  | "workgroup_id.y"
  | "workgroup_id.z"
  | "subgroup_lane"
  | "subgroup_index"
  | "subgroup_size";

export type KernelUnary = Exclude<UnaryOp, "bits" | "from_bits" | "stop"> | "bit_not";
export type KernelBinary = Exclude<BinaryOp, "straight_through">;

/** Functions with more or other operands than the unary and binary ops; named as in WGSL. */
export type KernelFunction =
  | "fma"
  | "dot"
  | "clamp"
  | "unpack2x16float"
  | "pack2x16float"
  | "dot4I8Packed"
  | "countOneBits"
  | "subgroupAdd"
  | "subgroupMax"
  | "subgroupMin"
  | "subgroupBroadcastFirst"
  | "subgroupShuffle"
  | "subgroupShuffleXor";

/**
 * Expressions carry their type. Operands of unary and binary ops have one type, scalar or vector alike; comparisons
 * give bool (vectors: of bool); shifts take a u32 amount.
 */
export type Expr =
  | { readonly kind: "literal"; readonly type: ScalarType; readonly value: number }
  | { readonly kind: "local"; readonly name: string; readonly type: KernelType }
  | { readonly kind: "builtin"; readonly name: Builtin; readonly type: "u32" }
  | { readonly kind: "parameter"; readonly name: string; readonly type: "f32" | "i32" | "u32" }
  /** An element of a buffer; index u32, must be in range. */
  | { readonly kind: "load"; readonly buffer: string; readonly index: Expr; readonly type: KernelType }
  /** An element of workgroup memory. */
  | { readonly kind: "shared"; readonly array: string; readonly index: Expr; readonly type: KernelType }
  | { readonly kind: "unary"; readonly op: KernelUnary; readonly a: Expr; readonly type: KernelType }
  | {
      readonly kind: "binary";
      readonly op: KernelBinary;
      readonly a: Expr;
      readonly b: Expr;
      readonly type: KernelType;
    }
  /** Both sides are evaluated: use `if` where a side must not be. */
  | {
      readonly kind: "select";
      readonly condition: Expr;
      readonly then: Expr;
      readonly otherwise: Expr;
      readonly type: KernelType;
    }
  /** Conversion of the value, as WGSL's `f32(x)`. */
  | { readonly kind: "convert"; readonly a: Expr; readonly type: KernelType }
  /** The same bits as another type of the same size. */
  | { readonly kind: "bitcast"; readonly a: Expr; readonly type: KernelType }
  | { readonly kind: "call"; readonly name: KernelFunction; readonly args: readonly Expr[]; readonly type: KernelType }
  | { readonly kind: "vector"; readonly parts: readonly Expr[]; readonly type: VectorType }
  | { readonly kind: "component"; readonly a: Expr; readonly at: 0 | 1 | 2 | 3; readonly type: ScalarType };

export type Statement =
  | { readonly kind: "let"; readonly name: string; readonly value: Expr }
  | { readonly kind: "var"; readonly name: string; readonly type: KernelType; readonly value: Expr }
  /** To a `var`. */
  | { readonly kind: "assign"; readonly name: string; readonly value: Expr }
  /**
   * for (name = from; name < to; name += step): u32 or i32, `step` positive; `name` is constant in the body; `to` and
   * `step` are evaluated each round.
   */
  | {
      readonly kind: "for";
      readonly name: string;
      readonly type: "u32" | "i32";
      readonly from: Expr;
      readonly to: Expr;
      readonly step: Expr;
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: "if";
      readonly condition: Expr;
      readonly then: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | { readonly kind: "store"; readonly buffer: string; readonly index: Expr; readonly value: Expr }
  | { readonly kind: "store_shared"; readonly array: string; readonly index: Expr; readonly value: Expr }
  /** workgroupBarrier. */
  | { readonly kind: "barrier" }
  // Matrices of 16 x 16 belong to a subgroup, all of whose invocations must come by with the same operands.
  /** A result matrix of zeros that products are added to. */
  | { readonly kind: "matrix"; readonly name: string }
  /**
   * A left or right matrix from workgroup memory or a buffer that is only read, of f16 or of vec4<u32> that hold eight f16
   * each. Rows are neighbours, from index + r * stride on for row r, or with `columns` columns are; both count elements of
   * the array.
   */
  | {
      readonly kind: "load_matrix";
      readonly name: string;
      readonly role: "left" | "right";
      /** Of workgroup memory, or a buffer. */
      readonly array: string;
      readonly index: Expr;
      readonly stride: Expr;
      readonly columns: boolean;
    }
  /** result += left * right, summed in f32 in any order. */
  | { readonly kind: "multiply_matrices"; readonly result: string; readonly left: string; readonly right: string }
  /**
   * A result matrix to workgroup memory, of f32 or of vec4<u32> that hold the bits of four f32 each: row r, or with
   * `columns` column r, from index + r * stride on, both counting elements of the array.
   */
  | {
      readonly kind: "store_matrix";
      readonly name: string;
      readonly array: string;
      readonly index: Expr;
      readonly stride: Expr;
      readonly columns: boolean;
    };

/** The scalar type of the elements of a type. */
export function elementType(type: KernelType): ScalarType {
  return type.startsWith("vec") ? (type.slice(5, -1) as ScalarType) : (type as ScalarType);
}

/** The number of elements of a type: 1 for a scalar. */
export function width(type: KernelType): 1 | 2 | 3 | 4 {
  return type.startsWith("vec") ? (Number(type[3]) as 2 | 3 | 4) : 1;
}

/** The vector type of `count` elements, or the element type itself for 1. */
export function vectorType(element: ScalarType, count: 1 | 2 | 3 | 4): KernelType {
  return count === 1 ? element : `vec${count}<${element}>`;
}

/** Bytes an element of this type takes in a buffer (bool may not stand in one). vec3 is not used in buffers. */
export function byteSize(type: KernelType): number {
  return (elementType(type) === "f16" ? 2 : 4) * width(type);
}
