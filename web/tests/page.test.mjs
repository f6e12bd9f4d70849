// The page in headless Chromium, with WebGPU on SwiftShader, against the program on the same adapter.
//
// Needs web/dist (web/build.sh), the program (AGOGE, default target/debug/agoge), /usr/bin/chromium (CHROMIUM), whose
// SwiftShader also serves the program, and playwright-core (npm ci).

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { agoge, events, load, open, reply, root, serve } from "./browser.mjs";

const ICD = process.env.SWIFTSHADER_ICD ?? "/usr/lib/chromium/vk_swiftshader_icd.json";
/// Small enough for a software adapter on two cores.
const SETTINGS = { target_modules: ["all-linear"], batch_size: 4, learning_rate: 1e-2, warmup_steps: 3, logging_steps: 5, save_steps: 10, max_seq_length: 64, seed: 3, device: "gpu" };
const PROMPT = "What is the strongest wall?";

let server;
before(async () => {
    server = await serve();
});
after(() => server.stop());

/// Runs the program on SwiftShader.
function program(...words) {
    const env = { ...process.env, VK_ICD_FILENAMES: ICD, VK_DRIVER_FILES: ICD };
    return execFileSync(agoge, words, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function folder() {
    return mkdtempSync(join(tmpdir(), "agoge-test-"));
}

/// Flags of the program for the settings above.
function flags(settings) {
    return Object.entries(settings).flatMap(([name, value]) => [`--${name.replaceAll("_", "-")}`, String(value)]);
}

/// Starts a run in the page and waits until its state is as wanted.
async function train(page, setup, until = "ended") {
    await page.evaluate((setup) => {
        received.length = 0;
        agoge.send({ request: "start", setup });
    }, { demo: true, resume: false, overwrite: true, ...setup });
    const end = await reply(page, `(reply) => reply.reply === "state" && ["failed", ${JSON.stringify(until)}].includes(reply.state.state)`);
    assert.equal(end.state.state, until, JSON.stringify(end));
    return (await events(page)).filter((event) => event.event === "step");
}

function losses(steps) {
    return steps.map((step) => step.loss);
}

function assertClose(actual, expected, tolerance, what) {
    assert.equal(actual.length, expected.length, what);
    actual.forEach((value, at) => assert.ok(Math.abs(value - expected[at]) <= tolerance, `${what}: step ${at + 1} is ${value}, not ${expected[at]}`));
}

describe("the page", () => {
    let browser;
    before(async () => {
        browser = await open(server.url);
    });
    after(() => browser.close());

    test("loads without an error and without requests to other servers", async () => {
        assert.deepEqual(browser.errors, []);
        assert.deepEqual(browser.foreignRequests, []);
        assert.equal(await browser.page.locator(".message").count(), 0, "no message is shown");
    });

    test("trains as the program does on the same kind of adapter", async () => {
        const { page } = browser;
        const steps = await train(page, { config: { ...SETTINGS, steps: 30, out: "runs/equal" } });
        const out = join(folder(), "run");
        program("train", "--model", "agoge-demo", "--data", "agoge-demo", "--quiet", "--out", out, ...flags({ ...SETTINGS, steps: 30 }));
        const lines = readFileSync(join(out, "metrics.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
        assertClose(losses(steps), losses(lines.filter((line) => line.loss !== undefined)), 1e-3, "losses");
        assert.ok(steps.at(-1).loss < steps[0].loss, "the loss falls");
        const { device } = (await events(page)).find((event) => event.event === "started");
        assert.match(device, /WebGpu/);
    });

    test("an adapter of the page generates the same text in the program", async () => {
        const { page } = browser;
        const zip = Buffer.from(await page.evaluate(async () => [...(await agoge.zip("runs/equal"))]));
        const there = folder();
        writeFileSync(join(there, "run.zip"), zip);
        execFileSync("python3", ["-m", "zipfile", "-e", join(there, "run.zip"), there]);
        await page.evaluate((prompt) => {
            received.length = 0;
            agoge.send({ request: "generate", number: 7, folder: "runs/equal", prompt, temperature: 0, max_tokens: 24, seed: 0 });
        }, PROMPT);
        const done = await reply(page, `(reply) => reply.reply === "task" && reply.number === 7 && reply.ending`);
        assert.equal(done.ending, "done", done.text);
        const text = await page.evaluate(() => received.filter((reply) => reply.reply === "text" && reply.adapted).map((reply) => reply.text).join(""));
        const native = program("generate", "--adapter", join(there, "equal"), "--model", "agoge-demo", "--device", "gpu", "--prompt", PROMPT, "--max-tokens", "24", "--temperature", "0", "--quiet");
        assert.ok(text.trim().length > 0);
        assert.ok(native.includes(text.trim()), `the page wrote "${text}", the program "${native}"`);
    });

    test("computes what PyTorch computes", async () => {
        const { page } = browser;
        for (const [check, name] of [["forward", "llama-tied"], ["trajectory", "train-sparta"]]) {
            const path = await addFolder(page, join(root, "tests/golden", name));
            const worst = await page.evaluate(([check, path]) => agoge.check(check, path), [check, path]);
            assert.ok(Object.keys(worst).length >= 2, check);
            for (const [what, error] of Object.entries(worst)) assert.ok(error <= 1, `${name} ${what}: ${error} times the tolerance`);
        }
        const worst = await page.evaluate(() => agoge.check("gather"));
        assert.equal(Object.keys(worst).length, 72);
        for (const [what, error] of Object.entries(worst)) assert.ok(error <= 1, `masked gather ${what}: ${error} times the tolerance`);
    });

    test("the browser takes every shader, and multiplies in every way", async () => {
        const { page } = browser;
        const { count, refused } = await page.evaluate(() => agoge.check("shaders"));
        assert.ok(count > 150, `${count} shaders`);
        assert.deepEqual(refused, {});
        const worst = await page.evaluate(() => agoge.check("products"));
        assert.equal(Object.keys(worst).length, 40);
        for (const [what, error] of Object.entries(worst)) assert.ok(error <= 1, `product ${what}: ${error} times the tolerance`);
    });

    test("the list of devices names the adapter", async () => {
        const { page } = browser;
        await page.evaluate(() => {
            received.length = 0;
            agoge.send({ request: "devices" });
        });
        const { devices } = await reply(page, `(reply) => reply.reply === "devices"`);
        assert.match(devices[0].name, /swiftshader.*WebGpu/i);
    });

    test("a mask chosen by gradients trains as in the program, and training resumes from the adapter that stores it", async () => {
        const { page } = browser;
        const settings = { ...SETTINGS, mask: "gradient", density: 0.02, logging_steps: 1, save_steps: 4, steps: 6 };
        const native = (name, more) => {
            const out = join(folder(), name);
            program("train", "--model", "agoge-demo", "--data", "agoge-demo", "--quiet", "--out", out, ...flags({ ...settings, ...more }));
            const lines = readFileSync(join(out, "metrics.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
            return { out, losses: losses(lines.filter((line) => line.loss !== undefined)) };
        };
        const first = native("first", {});
        assertClose(losses(await train(page, { config: { ...settings, out: "runs/gradient" } })), first.losses, 1e-3, "losses");
        const second = native("second", { init_adapter: first.out });
        const further = losses(await train(page, { config: { ...settings, init_adapter: "runs/gradient", out: "runs/further" } }));
        assertClose(further, second.losses, 1e-3, "losses of the run that starts from the adapter");
        assert.ok(Math.abs(further[0] - first.losses[0]) > 1e-3, "it starts where the adapter is");
    });

    test("an adapter without its run is used on the model that it names, in all three layouts", async () => {
        const { page } = browser;
        // One of those after which both adapters have the model write something else.
        const prompt = "w1 w2 w3 w4 w5";
        const both = async (number, path) => {
            await page.evaluate(([number, folder, prompt]) => {
                received.length = 0;
                agoge.send({ request: "generate", number, folder, prompt, temperature: 0, max_tokens: 12, seed: 0 });
            }, [number, path, prompt]);
            const { ending, text } = await reply(page, `(reply) => reply.reply === "task" && reply.number === ${number} && reply.ending`);
            const sides = await page.evaluate(() => [true, false].map((side) => received.filter((reply) => reply.reply === "text" && reply.adapted === side).map((reply) => reply.text).join("")));
            return { ending, text, sides };
        };
        // Other programs' adapters of models that are not there yet.
        const adapters = { "adapter-peft": "train-lora", "adapter-peft-sparta": "train-sparta" };
        for (const [name, of] of Object.entries(adapters)) {
            const [from, to] = [join(root, "tests/golden", of, name), join(folder(), name)];
            mkdirSync(to);
            for (const file of readdirSync(from)) {
                const content = readFileSync(join(from, file));
                writeFileSync(join(to, file), file.endsWith(".json") ? content.toString().replace('"llama-tied"', '"someone/small-llama"') : content);
            }
            assert.equal(await addFolder(page, to), `runs/${name}`);
        }
        const missing = await both(20, "runs/adapter-peft");
        assert.equal(missing.ending, "failed");
        assert.match(missing.text, /small-llama.*drop the folder/);
        // Both were trained on one model.
        const model = join(folder(), "small-llama");
        mkdirSync(model);
        for (const file of ["config.json", "model.safetensors"]) writeFileSync(join(model, file), readFileSync(join(root, "tests/golden/train-lora", file)));
        writeFileSync(join(model, "tokenizer.json"), tinyTokenizer(JSON.parse(readFileSync(join(model, "config.json"))).vocab_size));
        assert.equal(await addFolder(page, model), "models/small-llama");
        let number = 20;
        for (const [name, of] of Object.entries(adapters)) {
            const { ending, text, sides } = await both(++number, `runs/${name}`);
            assert.equal(ending, "done", text);
            const native = (...more) => program("generate", "--model", model, "--device", "cpu", "--prompt", prompt, "--max-tokens", "12", "--temperature", "0", "--quiet", ...more);
            const adapter = join(root, "tests/golden", of, name);
            assert.deepEqual(sides.map((side) => `${prompt}${side}`.trim()), [native("--adapter", adapter).trim(), native().trim()]);
            assert.notEqual(sides[0], sides[1], "the adapter changes something");
        }
        // The program's own, as two loose files.
        const files = await page.evaluate(async () => [...(await agoge.zip("runs/equal"))]);
        const there = folder();
        writeFileSync(join(there, "run.zip"), Buffer.from(files));
        execFileSync("python3", ["-m", "zipfile", "-e", join(there, "run.zip"), there]);
        await drop(page, undefined, ["adapter.json", "adapter.safetensors"].map((name) => ({ name, bytes: [...readFileSync(join(there, "equal", name))] })));
        const whole = await both(30, "runs/equal");
        const alone = await both(31, "runs/given-adapter");
        assert.equal(alone.ending, "done", alone.text);
        assert.deepEqual(alone.sides, whole.sides);
    });

    test("pasted text trains", async () => {
        const { context, page } = browser;
        await context.grantPermissions(["clipboard-read", "clipboard-write"]);
        const pasted = { "one row\n\nand another\n\n": "txt", '{"text": "a"}\n{"text": "b"}\n': "jsonl", "prompt,completion\na,b\nc,d\n": "csv" };
        for (const [text, kind] of Object.entries(pasted)) {
            await page.evaluate((text) => navigator.clipboard.writeText(text), text);
            const path = await page.evaluate(() => agoge.choose("clipboard"));
            assert.match(path, new RegExp(`^data/pasted-\\d+\\.${kind}$`));
            const steps = await train(page, { demo: false, config: { ...SETTINGS, model: "agoge-demo", data: path, out: "runs/pasted", batch_size: 1, logging_steps: 1, steps: 2 } });
            assert.equal(steps.length, 2);
        }
    });

    test("a dropped model folder and a dropped file train", async () => {
        const { page } = browser;
        const model = join(folder(), "tiny");
        mkdirSync(model);
        for (const name of ["config.json", "model.safetensors"]) writeFileSync(join(model, name), readFileSync(join(root, "tests/golden/llama-tied", name)));
        writeFileSync(join(model, "tokenizer.json"), tinyTokenizer(JSON.parse(readFileSync(join(model, "config.json"))).vocab_size));
        await drop(page, "tiny", readdirSync(model).map((name) => ({ name, bytes: [...readFileSync(join(model, name))] })));
        await drop(page, undefined, [{ name: "rows.txt", bytes: [...Buffer.from("the cat sat on the mat\n\nthe dog ran\n\n".repeat(8))] }]);
        const steps = await train(page, { demo: false, config: { model: "models/tiny", data: "data/rows.txt", out: "runs/tiny", device: "gpu", steps: 4, batch_size: 2, logging_steps: 1, max_seq_length: 16 } });
        assert.equal(steps.length, 4);
        steps.forEach((step) => assert.ok(Number.isFinite(step.loss)));
    });

    test("hostile files give messages and the page keeps working", async () => {
        const { page } = browser;
        const hostile = { "cut.jsonl": '{"prompt": "a", "compl', "zip.txt": "PK\u0003\u0004rubbish", "empty.csv": "", "rows.csv": "a,b\n1,2,3\n" };
        for (const [name, text] of Object.entries(hostile)) {
            await drop(page, undefined, [{ name, bytes: [...Buffer.from(text)] }]);
            await page.evaluate(([data]) => {
                received.length = 0;
                agoge.send({ request: "start", setup: { demo: false, resume: false, overwrite: true, config: { model: "agoge-demo", data, out: "runs/hostile", steps: 2 } } });
            }, [`data/${name}`]);
            const end = await reply(page, `(reply) => reply.reply === "state" && ["failed", "ended"].includes(reply.state.state)`);
            assert.equal(end.state.state, "failed", name);
            assert.match(end.state.message, new RegExp(name.split(".")[0]), "the message names the file");
        }
        await drop(page, "broken", [{ name: "config.json", bytes: [123] }, { name: "model.safetensors", bytes: [255, 255, 255, 255, 255, 255, 255, 127, 1] }]);
        await page.evaluate(() => {
            received.length = 0;
            agoge.send({ request: "start", setup: { demo: false, resume: false, overwrite: true, config: { model: "models/broken", data: "agoge-demo", out: "runs/hostile", steps: 2 } } });
        });
        const end = await reply(page, `(reply) => reply.reply === "state" && reply.state.state === "failed"`);
        assert.match(end.state.message, /broken/);
    });

    test("no error was logged and no other server was asked in all tests", () => {
        assert.deepEqual(browser.errors, []);
        assert.deepEqual(browser.foreignRequests, []);
    });
});

describe("what the page does for a run", () => {
    test("the screen is kept awake, and a slow-down of a hidden tab is reported", async () => {
        // A screen and a tab within reach of the test.
        const script = `
            globalThis.awake = { asked: [], locks: [] };
            const lock = () => ({ released: false, async release() { this.released = true; } });
            const request = async (what) => {
                awake.asked.push(what);
                awake.locks.push(lock());
                return awake.locks.at(-1);
            };
            Object.defineProperty(navigator, "wakeLock", { value: { request } });
            globalThis.hide = (isHidden) => {
                // A browser refuses a wake lock to a hidden page.
                if (isHidden) awake.locks.forEach((lock) => lock.release());
                Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            };`;
        const browser = await open(server.url, { script });
        const { page } = browser;
        await page.evaluate((setup) => agoge.send({ request: "start", setup }), { config: { ...SETTINGS, save_steps: 0, logging_steps: 1, steps: 5000, out: "runs/long" }, demo: true, resume: false, overwrite: true });
        await reply(page, `(reply) => reply.reply === "event" && reply.event.event === "step"`);
        const wakeLocks = () => page.evaluate(() => [awake.asked, awake.locks.map((lock) => lock.released)]);
        assert.deepEqual(await wakeLocks(), [["screen"], [false]]);
        // Long enough to measure the speed of the run.
        await page.waitForTimeout(7000);
        await page.evaluate(() => hide(true));
        await reply(page, `(reply) => reply.reply === "event" && reply.event.event === "saved"`);
        await page.evaluate(() => agoge.send({ request: "pause" }));
        await page.waitForTimeout(14000);
        assert.equal(await page.locator("#message-hidden").count(), 0);
        await page.evaluate(() => hide(false));
        assert.deepEqual(await wakeLocks(), [["screen", "screen"], [true, false]]);
        assert.match(await page.locator("#message-hidden").innerText(), /hidden.* to \d+ % of its speed/);
        await page.evaluate(() => {
            agoge.send({ request: "tell", command: { command: "stop" } });
            agoge.send({ request: "resume" });
        });
        await reply(page, `(reply) => reply.reply === "state" && reply.state.state === "ended"`);
        assert.deepEqual(await wakeLocks(), [["screen", "screen"], [true, true]]);
        assert.deepEqual(browser.errors, []);
        await browser.close();
    });

    test("steps are not queued without bound on a slow device", async () => {
        // The device reports late that it is done. What was read from it is done in any case.
        const script = `
            self.ends = { asked: 0, waiting: 0, most: 0, reads: 0 };
            const end = GPUQueue.prototype.onSubmittedWorkDone;
            GPUQueue.prototype.onSubmittedWorkDone = async function () {
                const { reads } = ends;
                ends.asked++;
                ends.most = Math.max(ends.most, ++ends.waiting);
                await end.call(this);
                await new Promise((done) => setTimeout(done, 300));
                if (reads === ends.reads) ends.waiting--;
            };
            const read = GPUBuffer.prototype.mapAsync;
            GPUBuffer.prototype.mapAsync = function (...all) {
                ends.reads++;
                ends.waiting = 0;
                return read.apply(this, all);
            };`;
        const other = await serve(script);
        const browser = await open(other.url);
        const { page } = browser;
        const steps = await train(page, { config: { ...SETTINGS, eval_steps: 0, save_steps: 0, logging_steps: 1000, sample_prompts: [], steps: 20, out: "runs/slow" } });
        assert.equal(steps.length, 20);
        const { asked, most } = await page.workers()[0].evaluate(() => ends);
        // All but the first step, the last, and those with a checkpoint of the page's own, whose figures are read at once.
        assert.ok(asked > 10 && asked <= 18, `${asked} times`);
        assert.equal(most, 3, "steps are queued, but no more than that");
        await browser.close();
        other.stop();
    });
});

describe("a run that is interrupted", () => {
    test("pauses, outlives the page, and resumes with the same losses", async () => {
        const browser = await open(server.url);
        const { page } = browser;
        const config = { ...SETTINGS, steps: 20, out: "runs/whole" };
        const whole = losses(await train(page, { config }));

        await page.evaluate((setup) => {
            received.length = 0;
            agoge.send({ request: "start", setup });
        }, { config: { ...config, out: "runs/halved" }, demo: true, resume: false, overwrite: true });
        await reply(page, `(reply) => reply.reply === "event" && reply.event.event === "saved"`);
        await page.evaluate(() => agoge.send({ request: "pause" }));
        await reply(page, `(reply) => reply.reply === "state" && reply.state.state === "paused"`);
        const paused = (await events(page)).length;
        await page.waitForTimeout(1000);
        assert.equal((await events(page)).length, paused, "a paused run sends no events");

        page.on("dialog", (dialog) => dialog.accept());
        await load(page, server.url);
        const stored = await page.evaluate(() => agoge.settings("runs/halved"));
        const rest = losses(await train(page, { config: stored, demo: false, resume: true, overwrite: false }));
        assert.ok(rest.length > 0 && rest.length < 20, `it resumed from the checkpoint, ${rest.length} steps`);
        assertClose(rest, whole.slice(-rest.length), 1e-6, "losses after the reload");
        assert.deepEqual(browser.errors, []);
        await browser.close();
    });

    test("a lost device is reported, and the page offers to resume", async () => {
        // The worker's device within reach of the test.
        const script = "{ const ask = GPUAdapter.prototype.requestDevice; GPUAdapter.prototype.requestDevice = async function (...words) { return self.device = await ask.apply(this, words); }; }";
        const other = await serve(script);
        const browser = await open(other.url);
        const { page } = browser;
        await page.evaluate((setup) => {
            received.length = 0;
            agoge.send({ request: "start", setup });
        }, { config: { ...SETTINGS, steps: 200, out: "runs/lost" }, demo: true, resume: false, overwrite: true });
        await reply(page, `(reply) => reply.reply === "event" && reply.event.event === "saved"`);
        await page.workers()[0].evaluate(() => self.device.destroy());
        const bar = page.locator("#message-broken");
        await bar.waitFor({ timeout: 60000 });
        assert.match(await bar.innerText(), /last checkpoint/);
        page.on("dialog", (dialog) => dialog.accept());
        await bar.getByRole("button", { name: "Reload" }).click();
        await page.waitForSelector("#welcome.hidden", { state: "attached", timeout: 120000 });
        await page.evaluate(() => {
            globalThis.received = [];
            agoge.onReply((reply) => received.push(reply));
        });
        await page.evaluate(() => {
            const setup = { config: agoge.settings("runs/lost"), demo: false, resume: true, overwrite: false };
            agoge.send({ request: "start", setup });
        });
        await reply(page, `(reply) => reply.reply === "event" && reply.event.event === "step" && reply.event.step > 10`);
        await browser.close();
        other.stop();
    });
});

test("without WebGPU the page says so and shows a recorded run", async () => {
    const browser = await open(server.url, { webgpu: false });
    const text = await browser.page.locator("#message-no-webgpu").innerText();
    for (const word of ["Chrome", "Edge", "Safari", "Firefox", "--enable-unsafe-webgpu"]) assert.ok(text.includes(word), word);
    assert.ok((await browser.page.evaluate(() => agoge.runs())).includes("runs/recorded-demo"));
    assert.deepEqual(browser.errors, []);
    await browser.close();
});

/// Adds the files of a folder to those of the page.
function addFolder(page, folder) {
    const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
    const name = folder.split("/").pop();
    const contents = files.map((entry) => ({ name: `${name}/${entry.name}`, bytes: [...readFileSync(join(folder, entry.name))] }));
    return page.evaluate((contents) => agoge.addFiles(contents.map(({ name, bytes }) => ({ name, file: new File([new Uint8Array(bytes)], name.split("/").pop()) }))), contents);
}

/// Drops files on the page; those of a folder bear its name before their own.
async function drop(page, folder, files) {
    await page.evaluate(async ([folder, files]) => {
        const contents = files.map(({ name, bytes }) => ({ name: folder ? `${folder}/${name}` : name, file: new File([new Uint8Array(bytes)], name) }));
        if (folder) {
            // A script cannot make a drop that holds a folder.
            await agoge.addFiles(contents);
            return;
        }
        const transfer = new DataTransfer();
        contents.forEach(({ file }) => transfer.items.add(file));
        const added = agoge.filesAdded();
        document.getElementById("window").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        await added;
    }, [folder, files]);
}

/// A tokenizer whose tokens are whole words.
function tinyTokenizer(size) {
    const words = ["<unk>", "the", "cat", "sat", "on", "mat", "dog", "ran"];
    const vocab = Object.fromEntries([...words, ...Array.from({ length: size - words.length }, (_, at) => `w${at}`)].map((word, at) => [word, at]));
    return JSON.stringify({ version: "1.0", truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: { type: "Whitespace" }, post_processor: null, decoder: null, model: { type: "WordLevel", vocab, unk_token: "<unk>" } });
}
