/** Compiled kernels, each WGSL text once. */
import type { Program, ProgramKernel } from "../../compiler/plan/program.js";
import type { Device } from "../device/device.js";
import { DeviceError } from "../device/error.js";

/** A kernel that is ready to be dispatched. */
export interface CompiledKernel {
  readonly kernel: ProgramKernel;
  readonly pipeline: GPUComputePipeline;
  /** Layout of group 0; one object for all kernels with the same accesses, so that bind groups can be shared. */
  readonly layout: GPUBindGroupLayout;
  /** Bytes of the parameters' uniform block, a multiple of 16; 0 without parameters. */
  readonly parameterBytes: number;
}

/** A program whose kernels the device has compiled. */
export interface Prepared {
  readonly program: Program;
  readonly kernels: readonly CompiledKernel[];
}

export interface Pipelines {
  /** @throws DeviceError validation, with the line of WGSL that the device refuses */
  compile(kernel: ProgramKernel): Promise<CompiledKernel>;
  /** Layout of group 1 for a parameter block of so many bytes. */
  parameterLayout(bytes: number): GPUBindGroupLayout;
}

const computeStage = 0x4; // GPUShaderStage.COMPUTE

/** Makes an empty cache of pipelines for a device. */
export function createPipelines(device: Device): Pipelines {
  const layouts = new Map<string, GPUBindGroupLayout>();
  const parameterLayouts = new Map<number, GPUBindGroupLayout>();
  const compiled = new Map<string, Promise<CompiledKernel>>();

  function layoutOf(bindings: ProgramKernel["bindings"]): GPUBindGroupLayout {
    const key = bindings.map(({ access }) => access).join();
    let layout = layouts.get(key);
    if (layout === undefined) {
      layout = device.gpu.createBindGroupLayout({
        label: key,
        entries: bindings.map(({ access }, binding) => ({
          binding,
          visibility: computeStage,
          buffer: { type: access === "read" ? "read-only-storage" : "storage" },
        })),
      });
      layouts.set(key, layout);
    }
    return layout;
  }

  function parameterLayout(bytes: number): GPUBindGroupLayout {
    let layout = parameterLayouts.get(bytes);
    if (layout === undefined) {
      layout = device.gpu.createBindGroupLayout({
        label: `${bytes} bytes of parameters`,
        entries: [
          {
            binding: 0,
            visibility: computeStage,
            buffer: { type: "uniform", hasDynamicOffset: true, minBindingSize: bytes },
          },
        ],
      });
      parameterLayouts.set(bytes, layout);
    }
    return layout;
  }

  async function create(kernel: ProgramKernel): Promise<CompiledKernel> {
    const parameterBytes = Math.ceil(kernel.parameters.length / 4) * 16;
    let module: GPUShaderModule | undefined;
    try {
      // WGSL that is refused must not become a pipeline: where calls are not validated, Dawn ends the process for it
      await device.guarded(`kernel ${kernel.name}`, () => {
        module = device.gpu.createShaderModule({ code: kernel.wgsl, label: kernel.name });
      });
      return await device.guarded(`kernel ${kernel.name}`, async () => {
        const layout = layoutOf(kernel.bindings);
        const groups = parameterBytes === 0 ? [layout] : [layout, parameterLayout(parameterBytes)];
        const pipeline = await device.gpu.createComputePipelineAsync({
          label: kernel.name,
          layout: device.gpu.createPipelineLayout({ label: kernel.name, bindGroupLayouts: groups }),
          compute: { module: module!, entryPoint: "main" },
        });
        return { kernel, pipeline, layout, parameterBytes };
      });
    } catch (error) {
      if (!(error instanceof DeviceError) || error.code !== "validation" || module === undefined) throw error;
      const places = await complaints(kernel, module);
      throw places === ""
        ? error
        : new DeviceError("validation", `${device.name} refused kernel ${kernel.name}:\n${places}`);
    }
  }

  return {
    parameterLayout,
    compile(kernel) {
      const key = `${kernel.bindings.map(({ access }) => access).join()} ${kernel.parameters.length}\n${kernel.wgsl}`;
      const known = compiled.get(key);
      if (known !== undefined) return known.then((found) => ({ ...found, kernel }));
      const result = create(kernel);
      compiled.set(key, result);
      // A refusal may have a passing cause (memory); it is tried again when asked for again.
      result.catch(() => compiled.delete(key));
      return result;
    },
  };
}

/** The compiler's errors, each under the line it is about. */
async function complaints(kernel: ProgramKernel, module: GPUShaderModule): Promise<string> {
  const lines = kernel.wgsl.split("\n");
  const info = await module.getCompilationInfo();
  return info.messages
    .filter(({ type }) => type === "error")
    .map(({ lineNum, linePos, message }) => {
      const line = lines[lineNum - 1];
      const place =
        line === undefined
          ? ""
          : `  ${String(lineNum).padStart(4)} | ${line}\n       | ${" ".repeat(Math.max(0, linePos - 1))}^ `;
      return place + message;
    })
    .join("\n");
}
