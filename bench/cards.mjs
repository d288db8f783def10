// Which card is computed on when several of one name are chosen between: each is opened by its number, 4 GiB are held on
// it, and `nvidia-smi` says whose memory that is.
//   node bench/cards.mjs [--ways]
// With --ways also what else was tried to choose: each way in a process of its own, which opens the first GPU it sees.
import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { listDevices, openDevice } from "../dist/bundle/run.js";

const GiB = 2 ** 30;
const smi = () =>
  execFileSync("nvidia-smi", ["--query-gpu=index,pci.bus_id,memory.used,uuid", "--format=csv,noheader,nounits"], {
    encoding: "utf8",
  })
    .trim()
    .split("\n")
    .map((line) => line.split(", "))
    .map(([index, place, used, uuid]) => ({ index, place, used: Number(used), uuid }));

/** Holds 4 GiB on a device, and says which cards have more in use than before. */
async function held(options) {
  const before = smi();
  const device = await openDevice(options);
  const buffers = [];
  for (let at = 0; at < 4; at++) {
    const buffer = await device.createBuffer(GiB, "held");
    await device.write(buffer, 0, new Uint8Array(1024));
    buffers.push(buffer);
  }
  await device.finish();
  const grown = smi().flatMap((card, at) => {
    const more = card.used - before[at].used;
    return more > 1000 ? [`card ${card.index} (${card.place}) has ${more} MiB more in use`] : [];
  });
  for (const buffer of buffers) device.free(buffer);
  device.close();
  return grown.join(", ") || "no card has more in use";
}

const [mode] = process.argv.slice(2);
if (mode === "--first") console.log(await held({ kind: "gpu" }));
else {
  for (const { index, place, used } of smi()) console.log(`nvidia-smi: card ${index} at ${place}, ${used} MiB in use`);
  const gpus = (await listDevices()).filter(({ kind }) => kind === "gpu");
  for (const [at, { name, place, reachable }] of gpus.entries()) {
    const found = reachable ? await held({ kind: "gpu", index: at }) : "cannot be chosen";
    console.log(`gpu:${at} ${name} at ${place}: ${found}`);
  }
  if (mode === "--ways") {
    const self = `${process.execPath} ${fileURLToPath(import.meta.url)} --first`;
    const ways = {
      nothing: self,
      "CUDA_VISIBLE_DEVICES=1": `CUDA_VISIBLE_DEVICES=1 ${self}`,
      "NVIDIA_VISIBLE_DEVICES=1": `NVIDIA_VISIBLE_DEVICES=1 ${self}`,
      "VK_LOADER_DISABLE_SELECT=1": `VK_LOADER_DISABLE_SELECT=1 ${self}`,
      "DRI_PRIME=1": `DRI_PRIME=1 ${self}`,
      "unshare -m, /dev/nvidia0 covered": `unshare -m sh -c 'mount --bind /dev/null /dev/nvidia0 && ${self}'`,
      "unshare -rm, /dev/nvidia0 covered": `unshare -rm sh -c 'mount --bind /dev/null /dev/nvidia0 && ${self}'`,
      "system's libvulkan":
        "ls -l /usr/lib/x86_64-linux-gnu/libvulkan* 2>&1; ls /usr/share/vulkan/icd.d /etc/vulkan/icd.d 2>&1; id -u",
    };
    for (const [name, command] of Object.entries(ways)) {
      const { stdout, stderr } = spawnSync("sh", ["-c", command], { encoding: "utf8", timeout: 60_000 });
      console.log(`${name}: ${(stdout + stderr).trim().split("\n").slice(-6).join(" | ")}`);
    }
  }
}
