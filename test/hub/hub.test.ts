/** Models and texts of the hub: what is fetched, what the cache has, and what is refused. */
import { mkdir, readdir, readFile, readlink, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fetchFromHub } from "../../runtime/hub/fetch.js";
import { parseReference } from "../../runtime/hub/reference.js";
import type { HubOptions } from "../../runtime/hub/request.js";
import type { ModelErrorCode } from "../../runtime/model/error.js";
import { openModel } from "../../runtime/model/model.js";
import { writePacked } from "../model/export/support.js";
import { failure, inDirectory } from "../model/support.js";
import { commit, hashOf, sendFile, startHub, type Hub, type Repo } from "./server.js";

const test = suite("hub");

const weights = Uint8Array.from({ length: 300_000 }, (_, at) => (at * 31) >> 3);
const model: Repo = {
  type: "model",
  name: "some/model",
  large: ["model.safetensors", "pytorch_model.bin"],
  files: {
    "config.json": "{}",
    "tokenizer.json": "{}",
    "README.md": "# it",
    "recipe.esp": "recipe r(model: llama) {}\n",
    "model.safetensors": weights,
    "pytorch_model.bin": "torch",
  },
};
const sharded: Repo = {
  type: "model",
  name: "some/shards",
  large: ["a.safetensors", "b.safetensors"],
  files: {
    "config.json": "{}",
    "model.safetensors.index.json": JSON.stringify({ weight_map: { x: "a.safetensors", y: "b.safetensors" } }),
    "a.safetensors": "aaa",
    "b.safetensors": "bbb",
    "c.safetensors": "ccc",
  },
};
const leading: Repo = {
  type: "model",
  name: "some/leading",
  files: {
    "config.json": "{}",
    "model.safetensors.index.json": JSON.stringify({ weight_map: { x: "../../../a.safetensors" } }),
  },
};
const gguf: Repo = {
  type: "model",
  name: "some/gguf",
  files: { "config.json": "{}", "m-Q4_0.gguf": "GGUF", "p-00001-of-00002.gguf": "1", "p-00002-of-00002.gguf": "2" },
};
const data: Repo = { type: "dataset", name: "some/data", files: { "text/train.jsonl": '{"text": "a"}\n' } };
const gated: Repo = { ...model, name: "some/gated", needsToken: "secret" };

/** A hub and an empty cache. */
async function withHub(
  work: (hub: Hub, options: HubOptions, cache: string) => Promise<void>,
  repos: readonly Repo[] = [model, sharded, leading, gguf, data, gated],
): Promise<void> {
  await inDirectory(async (cache) => {
    const hub = await startHub(repos);
    try {
      await work(hub, { cache, endpoint: hub.url, token: null, offline: false, pause: 0 }, cache);
    } finally {
      await hub.close();
    }
  });
}

const named = (text: string, options: HubOptions): Promise<string> => fetchFromHub(parseReference(text)!, options);

test("a model: what it needs, in the layout that Python has, and nothing twice", async () => {
  await withHub(async (hub, options, cache) => {
    const seen: number[] = [];
    const directory = await named("some/model", {
      ...options,
      token: "mine",
      onProgress: (file, done, total) => file === "model.safetensors" && seen.push(done / total),
    });
    assert.is(directory, join(cache, "models--some--model", "snapshots", commit));
    assert.equal((await readdir(directory)).sort(), [
      "config.json",
      "model.safetensors",
      "recipe.esp",
      "tokenizer.json",
    ]);
    assert.equal(new Uint8Array(await readFile(join(directory, "model.safetensors"))), weights);
    assert.is(await readlink(join(directory, "model.safetensors")), join("..", "..", "blobs", hashOf(weights, true)));
    assert.is(await readFile(join(cache, "models--some--model", "refs", "main"), "utf8"), commit);
    assert.ok(seen.length > 0 && seen.at(-1) === 1);
    assert.ok(hub.seen.filter(({ at }) => at === "hub").every(({ token }) => token));
    assert.equal(
      hub.seen.filter(({ at }) => at === "cdn").map(({ token }) => token),
      [false],
      "the token goes to the hub alone",
    );
    hub.seen.length = 0;
    assert.is(await named("some/model", options), directory);
    assert.ok(hub.seen.every(({ path }) => path.startsWith("/api/")));
  });
});

test("what the cache has works without a network, and offline", async () => {
  await withHub(async (hub, options) => {
    const directory = await named("some/model@v1", options);
    await hub.close();
    const notes: string[] = [];
    assert.is(await named("some/model@v1", { ...options, note: (line) => notes.push(line) }), directory);
    assert.match(notes.join(), /cannot be reached.*what the cache has of some\/model is taken/);
    const offline = { ...options, offline: true };
    assert.is(await named("some/model@v1", offline), directory);
    assert.is(await named(`some/model@${commit}`, offline), directory);
    assert.match(
      (await failure("M182", named("some/model@v2", offline))).message,
      /`some\/model@v2` is not in the cache/,
    );
    await failure("M182", named("some/other", offline));
    await failure("M180", named("some/other", options));
  });
});

test("shards that the index names, files by name, parts of a GGUF file, data sets", async () => {
  await withHub(async (_, options) => {
    const directory = await named("hf://some/shards", options);
    assert.equal((await readdir(directory)).sort(), [
      "a.safetensors",
      "b.safetensors",
      "config.json",
      "model.safetensors.index.json",
    ]);
    assert.match((await failure("M181", named("some/gguf", options))).help ?? "", /hf:\/\/org\/name\/m-Q4_0\.gguf/);
    const one = await named("hf://some/gguf/m-Q4_0.gguf", options);
    assert.equal(await readdir(join(one, "..")), ["config.json", "m-Q4_0.gguf"]);
    const first = await named("hf://some/gguf@main/p-00001-of-00002.gguf", options);
    assert.ok((await readdir(join(first, ".."))).includes("p-00002-of-00002.gguf"));
    const text = await named("hf://datasets/some/data/text/train.jsonl", options);
    assert.match(text, /datasets--some--data.*text.train\.jsonl$/);
    assert.is(await readFile(text, "utf8"), '{"text": "a"}\n');
  });
});

test("a download that breaks off is gone on with, in the same run and in the next", async () => {
  await withHub(async (hub, options, cache) => {
    let broken = 0;
    hub.intercept = (request, response, at) => {
      if (at !== "cdn" || broken === 2) return false;
      broken++;
      const start = Number(/\d+/.exec(request.headers.range ?? "0")![0]);
      response.writeHead(start === 0 ? 200 : 206, {
        "content-length": weights.length - start,
        "content-range": `bytes ${start}-${weights.length - 1}/${weights.length}`,
      });
      response.write(weights.subarray(start, start + 100_000), () => response.destroy());
      return true;
    };
    const directory = await named("some/model", options);
    assert.equal(new Uint8Array(await readFile(join(directory, "model.safetensors"))), weights);
    assert.ok(hub.seen.some(({ at, range }) => at === "cdn" && range !== null && range !== "bytes=0-"));

    const blob = join(cache, "models--some--model", "blobs", hashOf(weights, true));
    await rm(join(directory, "model.safetensors"));
    await writeFile(`${blob}.incomplete`, weights.subarray(0, 123_456));
    await rm(blob);
    hub.seen.length = 0;
    await named("some/model", options);
    assert.equal(
      hub.seen.filter(({ at }) => at === "cdn").map(({ range }) => range),
      ["bytes=123456-"],
    );
    assert.equal(new Uint8Array(await readFile(blob)), weights);
    assert.is(await stat(`${blob}.incomplete`).catch(() => null), null);
  });
});

test("a server that knows no ranges, and one that always breaks off", async () => {
  await withHub(async (hub, options, cache) => {
    const blobs = join(cache, "models--some--model", "blobs");
    await mkdir(blobs, { recursive: true });
    const incomplete = join(blobs, `${hashOf(weights, true)}.incomplete`);
    await writeFile(incomplete, weights.subarray(0, 5));
    hub.intercept = (request, response, at) => {
      if (at !== "cdn") return false;
      delete request.headers.range;
      sendFile(request, response, weights);
      return true;
    };
    const directory = await named("some/model", options);
    assert.equal(new Uint8Array(await readFile(join(directory, "model.safetensors"))), weights);
    await rm(directory, { recursive: true });
    await rm(join(blobs, hashOf(weights, true)));
    hub.intercept = (_, response, at) => at === "cdn" && (response.destroy(), true);
    const error = await failure("M180", named("some/model", options));
    assert.match(error.message, /sends the file `model.safetensors` no further than/);
  });
});

test("a gated model asks for a token", async () => {
  await withHub(async (_, options) => {
    assert.match((await failure("M181", named("some/gated", options))).help ?? "", /HF_TOKEN/);
    await failure("M181", named("some/gated", { ...options, token: "other" }));
    await named("some/gated", { ...options, token: "secret" });
  });
});

type Intercept = NonNullable<Hub["intercept"]>;
const api =
  (part: string, answer: (response: Parameters<Intercept>[1]) => void): Intercept =>
  (request, response) =>
    request.url?.includes(part) === true && (answer(response), true);
const entries = (change: object): Intercept =>
  api("/tree/", (response) =>
    response.end(
      JSON.stringify([
        { type: "file", path: "config.json", size: 2, oid: hashOf(Buffer.from("{}"), false), ...change },
      ]),
    ),
  );

const damages: readonly (readonly [string, ModelErrorCode, RegExp, Intercept])[] = [
  ["no such repository", "M181", /has no model/, api("/revision/", (r) => (r.writeHead(404), r.end("{}")))],
  ["an error of the hub", "M180", /status 503/, api("/revision/", (r) => (r.writeHead(503), r.end()))],
  ["no commit", "M183", /tells of no commit/, api("/revision/", (r) => r.end("{}"))],
  ["a commit that is a path", "M183", /no commit/, api("/revision/", (r) => r.end('{"sha": "../../../etc"}'))],
  ["an answer that is cut short", "M183", /cannot be read/, api("/tree/", (r) => r.end('[{"type": "file", "pa'))],
  ["an answer that is a web page", "M183", /cannot be read/, api("/tree/", (r) => r.end("<html>"))],
  ["an answer that is no list", "M183", /cannot be read/, api("/tree/", (r) => r.end('{"a": 1}'))],
  [
    "a redirect of an answer elsewhere",
    "M183",
    /redirects to `http:\/\/elsewhere\.example/,
    api("/revision/", (r) => (r.writeHead(302, { location: "http://elsewhere.example/" }), r.end())),
  ],
  [
    "a redirect to a file",
    "M183",
    /redirects to `file:\/\/\/etc\/passwd`/,
    api("/resolve/", (r) => (r.writeHead(302, { location: "file:///etc/passwd" }), r.end())),
  ],
  [
    "a redirect in a circle",
    "M183",
    /in a circle/,
    (request, response) =>
      request.url!.includes("/resolve/") && (response.writeHead(302, { location: request.url! }), response.end(), true),
  ],
  [
    "a further page elsewhere",
    "M183",
    /redirects to/,
    api("/tree/", (r) => (r.setHeader("link", '<http://elsewhere.example/?cursor=1>; rel="next"'), r.end("[]"))),
  ],
  [
    "a path that leaves the directory",
    "M183",
    /`\.\.\/config\.json` that would not stay/,
    entries({ path: "../config.json" }),
  ],
  ["a path of another disk", "M183", /would not stay/, entries({ path: "C:\\config.json" })],
  [
    "a hash that is a path",
    "M183",
    /neither size nor hash/,
    entries({ oid: "../../../../etc/passwd/aaaaaaaaaaaaaaaaaaa" }),
  ],
  ["no size", "M183", /neither size nor hash/, entries({ size: -1 })],
  ["a size without end", "M183", /neither size nor hash/, entries({ lfs: { oid: "0".repeat(64), size: 2 ** 60 } })],
  ["another hash", "M183", /has another hash than the hub tells/, api("/resolve/", (r) => r.end("[]"))],
  [
    "fewer bytes than told",
    "M180",
    /sends the file `config.json` no further than/,
    api("/resolve/", (r) => r.end("{")),
  ],
  ["a file that is not there after all", "M181", /config\.json/, api("/resolve/", (r) => (r.writeHead(404), r.end()))],
  ["more than was told", "M183", /sends more than the 2 bytes/, api("/resolve/", (r) => r.end("{} and more"))],
];

for (const [what, code, message, intercept] of damages)
  test(`refused: ${what}`, async () => {
    await withHub(async (hub, options, cache) => {
      hub.intercept = intercept;
      assert.match((await failure(code, named("some/model", options))).message, message);
      const left = (await readdir(cache, { recursive: true, withFileTypes: true })).filter((each) => each.isFile());
      assert.equal(
        left.filter(({ name }) => !name.endsWith(".incomplete")),
        [],
      );
    });
  });

test("a redirect of a file to a place that has other bytes", async () => {
  await withHub(async (hub, options, cache) => {
    hub.intercept = (_, response, at) => at === "cdn" && (response.end(Buffer.alloc(weights.length)), true);
    assert.match((await failure("M183", named("some/model", options))).message, /safetensors.* has another hash/);
    const blobs = join(cache, "models--some--model", "blobs");
    assert.not((await readdir(blobs)).includes(hashOf(weights, true)));
    // what was wrong is not gone on with
    hub.intercept = null;
    const directory = await named("some/model", options);
    assert.equal(new Uint8Array(await readFile(join(directory, "model.safetensors"))), weights);
  });
});

test("an index that names files elsewhere; a blob that was damaged", async () => {
  await withHub(async (_, options, cache) => {
    assert.match((await failure("M103", named("some/leading", options))).message, /`\.\.\/\.\.\/\.\.\/a\.safetensors`/);
    const directory = await named("some/model", options);
    await truncate(join(cache, "models--some--model", "blobs", hashOf(weights, true)), 7);
    assert.match((await failure("M183", named("some/model", options))).message, /of the cache has 7 bytes/);
    assert.ok(directory);
  });
});

test("names", async () => {
  const parsed = (text: string): unknown => {
    const found = parseReference(text);
    return found === null ? null : [found.type, found.name, found.revision, found.file];
  };
  assert.equal(parsed("org/name"), ["model", "org/name", "main", null]);
  assert.equal(parsed("org/name@refs/pr/3"), ["model", "org/name", "refs/pr/3", null]);
  assert.equal(parsed("hf://org/na.me@v1.0/a/b.gguf"), ["model", "org/na.me", "v1.0", "a/b.gguf"]);
  assert.equal(parsed("hf://datasets/org/name@refs/convert/parquet/x.txt"), [
    "dataset",
    "org/name",
    "refs/convert/parquet",
    "x.txt",
  ]);
  for (const text of [
    "name",
    "a/b/c",
    "./model",
    "../model",
    "/a/b",
    "org/..",
    "org/na--me",
    "org/name@../x",
    "or g/name",
    "C:\\a/b",
    "models/",
  ])
    assert.is(parsed(text), null, text);
  for (const text of ["hf://", "hf://name", "hf://org/name/../x", "hf://org/name@/x", "hf://a/b/c//d"])
    await failure("M181", () => parseReference(text));
});

test("a model from the hub is a model: its links lead to files of the cache", async () => {
  await inDirectory(async (place) => {
    await writePacked(place, { hidden_size: 8, num_hidden_layers: 1 }, () => "int4(8)");
    const files: { [path: string]: Uint8Array } = {};
    for (const name of await readdir(place)) files[name] = await readFile(join(place, name));
    const repo: Repo = { type: "model", name: "some/real", files, large: ["model.safetensors"] };
    await withHub(
      async (_, options) => {
        const found = await openModel(await named("some/real", options));
        assert.is(found.linears.length, 7);
        await found.tokenizer();
        await found.close();
      },
      [repo],
    );
  });
});

test("a rest that is another's: a range from elsewhere", async () => {
  await withHub(async (hub, options, cache) => {
    const blobs = join(cache, "models--some--model", "blobs");
    await mkdir(blobs, { recursive: true });
    await writeFile(join(blobs, `${hashOf(weights, true)}.incomplete`), weights.subarray(0, 1000));
    hub.intercept = (_, response, at) => {
      if (at !== "cdn") return false;
      response.writeHead(206, { "content-range": `bytes 0-${weights.length - 1001}/${weights.length}` });
      response.end(weights.subarray(0, weights.length - 1000));
      return true;
    };
    const error = await failure("M180", named("some/model", options));
    assert.match(error.message, /no further than/);
    hub.intercept = null;
    await named("some/model", options);
  });
});

test.run();
