/** Stdout for results alone, whatever native code and libraries print. */

/** The file descriptors of stdout and stderr. */
const stdout = 1;
const stderr = 2;

/**
 * Turns stdout into a second stderr for everyone else and gives the descriptor that leads where stdout led: libraries
 * and drivers (Dawn, Vulkan layers) print on stdout as they like, and a result must be all that is there. Where the
 * system has no `dup`, stdout stays as it is and is the result.
 */
export async function claimStdout(): Promise<number> {
  try {
    const { default: koffi } = await import("koffi");
    const system = koffi.load(null);
    const duplicate = system.func("int dup(int descriptor)") as (descriptor: number) => number;
    const redirect = system.func("int dup2(int from, int to)") as (from: number, to: number) => number;
    const kept = duplicate(stdout);
    return kept >= 0 && redirect(stderr, stdout) >= 0 ? kept : stdout;
  } catch {
    return stdout;
  }
}
