/** Imported before a command: its device is lost when the process gets SIGUSR2. */
import { globals } from "webgpu";

const { GPUAdapter: adapter } = globals as { readonly GPUAdapter: { readonly prototype: GPUAdapter } };
const own = adapter.prototype.requestDevice;
adapter.prototype.requestDevice = async function (this: GPUAdapter, ...given) {
  const device = await own.apply(this, given);
  process.once("SIGUSR2", () => device.destroy());
  return device;
};
