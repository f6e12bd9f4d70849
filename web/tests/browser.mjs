// A headless Chromium with WebGPU on SwiftShader, and the page in it.

import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const agoge = process.env.AGOGE ?? join(root, "target/debug/agoge");
const COMMON = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"];

/// Serves web/dist with the program itself; `{ url, stop }`. `prelude` is run in the worker before everything else.
export async function serve(prelude) {
    let dist = join(root, "web/dist");
    if (prelude) {
        const copy = mkdtempSync(join(tmpdir(), "agoge-dist-"));
        cpSync(dist, copy, { recursive: true });
        rmSync(join(copy, "worker.js.br"), { force: true });
        writeFileSync(join(copy, "worker.js"), `${prelude}\n${readFileSync(join(copy, "worker.js"), "utf8")}`);
        dist = copy;
    }
    const server = spawn(agoge, ["serve-web", "--dir", dist, "--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
    const url = await new Promise((done, fail) => {
        let text = "";
        server.on("exit", (code) => fail(new Error(`agoge serve-web ended with ${code}`)));
        server.stdout.on("data", (data) => {
            text += data;
            const found = text.match(/http:\/\/\S+/);
            if (found) done(found[0]);
        });
    });
    return { url, stop: () => server.kill() };
}

/// A browser with storage of its own, in whose pages `script` is run first. `errors`: what it logs as an error;
/// `foreignRequests`: its requests to other servers than the page's own.
export async function open(url, { webgpu = true, script } = {}) {
    const folder = mkdtempSync(join(tmpdir(), "agoge-browser-"));
    const context = await chromium.launchPersistentContext(folder, {
        executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
        headless: true,
        args: [...COMMON, ...(webgpu ? WEBGPU : [])],
        viewport: { width: 1280, height: 760 },
        acceptDownloads: true,
    });
    if (script) await context.addInitScript(script);
    const page = context.pages()[0];
    const errors = [];
    const foreignRequests = [];
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on("pageerror", (error) => errors.push(String(error)));
    context.on("request", (request) => {
        if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(url)) foreignRequests.push(request.url());
    });
    await load(page, url);
    return { context, page, errors, foreignRequests, close: () => context.close() };
}

/// Opens the page and waits for its window.
export async function load(page, url) {
    await page.goto(url, { waitUntil: "commit" });
    await page.waitForSelector("#welcome.hidden", { state: "attached", timeout: 120000 });
    await page.evaluate(() => {
        globalThis.received = [];
        agoge.onReply((reply) => received.push(reply));
    });
}

/// Waits for a reply for which `test` (a function of the page) is true, and returns it.
export async function reply(page, test, timeout = 300000) {
    // The page's content security policy forbids what waitForFunction does.
    for (const end = Date.now() + timeout; Date.now() < end; ) {
        const found = await page.evaluate(`received.find(${test})`);
        if (found) return found;
        await new Promise((done) => setTimeout(done, 200));
    }
    throw new Error(`no reply for which ${test}; the last was ${JSON.stringify(await page.evaluate("received.at(-1)"))}`);
}

/// All events of the run in progress.
export function events(page) {
    return page.evaluate(() => received.filter((reply) => reply.reply === "event").map((reply) => reply.event));
}
