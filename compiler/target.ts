/** Rows and columns of a matrix that a subgroup holds. */
export const matrixSize = 16;

/**
 * What the compiler may count on of the device a Program is for. Plain data; `runtime/device` makes it from an adapter.
 */
export interface Target {
  readonly name: string;
  readonly kind: "gpu" | "cpu";
  /** Whether kernels may compute in f16. Without it f16 values are stored as f32; casts to f16 still round. */
  readonly f16: boolean;
  /** Subgroup sizes the adapter may pick, or null without subgroups. */
  readonly subgroups: { readonly min: number; readonly max: number } | null;
  /** Whether a subgroup can multiply matrices of 16 x 16 in f16 with sums in f32. */
  readonly matrices: boolean;
  readonly maxInvocations: number;
  /** Bytes of workgroup memory. */
  readonly maxWorkgroupMemory: number;
  readonly maxStorageBuffers: number;
  /** Bytes of one storage binding. */
  readonly maxBinding: number;
  /** Whether a token's values are to be, bit for bit, what they are where it goes through by itself; slower. */
  readonly alike?: boolean;
}

/** What every WebGPU device has. */
export const baselineTarget: Target = {
  name: "baseline",
  kind: "gpu",
  f16: false,
  subgroups: null,
  matrices: false,
  maxInvocations: 256,
  maxWorkgroupMemory: 16384,
  maxStorageBuffers: 8,
  maxBinding: 128 * 1024 * 1024,
};
