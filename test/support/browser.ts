/** A headless Chromium whose WebGPU computes on SwiftShader; on a bare Linux machine, too. */
import type { Browser } from "puppeteer-core";

/** Starts it; the caller closes it. */
export async function startBrowser(): Promise<Browser> {
  // what Chromium needs of the system comes with the package, which unpacks it where it is told that it is in a cloud
  process.env["AWS_EXECUTION_ENV"] ??= "AWS_Lambda_nodejs22.x";
  process.env["AWS_LAMBDA_JS_RUNTIME"] ??= "nodejs22.x";
  // the package has no types that this compiler reads alike
  const { default: chromium } = (await import("@sparticuz/chromium")) as unknown as {
    readonly default: { executablePath(): Promise<string> };
  };
  const { launch } = await import("puppeteer-core");
  return launch({
    executablePath: await chromium.executablePath(),
    headless: "shell",
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    protocolTimeout: 240_000,
  });
}
